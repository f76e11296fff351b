"""The figure of one training curve: accuracy by epoch for each block, and a metric of generated images."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from probebench.board.figures import style
from probebench.board.figures.data import by_tap, measures_on_test

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from probebench.board.figures.data import CurvePoint, FigureData, TrainingCurve


def plot_epochs(data: FigureData, curve: TrainingCurve, generation_metric: str = "") -> Figure:
    """Plots one training curve.

    Args:
        data: The board of the curve.
        curve: Networks by epoch.
        generation_metric: Name of a metric of generated images for a second axis; empty for none.
    """
    figure = style.new_figure(style.PAGE, 3.4)
    axes = figure.add_subplot()
    epochs = [point.epoch for point in curve.points]
    style.epoch_axis(axes, epochs)
    ends = _plot_blocks(axes, curve.points)
    ends.append(_plot_test(axes, curve.points))
    ends += style.baseline_lines(axes, _baselines(data, curve))
    style.percent_axis(axes, data.metric)
    axes.set_title(f"{curve.label} on {data.title}")
    style.label_ends(axes, ends, x=1.11 if generation_metric else 1.01)
    text = (
        "coloured: validation, each block at its best level; black: test at the point chosen on validation, "
        f"with {_error_bars(curve)}; dotted: baselines on test"
    )
    if generation_metric:
        _plot_generation(axes, curve.points, generation_metric)
        text += f"\ncrosses: {generation_metric}"
        if _real_images(curve.points, generation_metric) is not None:
            text += "; dash-dotted line: the same metric of real images"
    style.note(figure, text)
    return figure


def generation_metrics(curve: TrainingCurve) -> list[str]:
    """Returns the names of the metrics of generated images that several epochs have."""
    names = {name for point in curve.points for name in point.generation}
    return sorted(name for name in names if sum(name in point.generation for point in curve.points) > 1)


def _plot_blocks(axes: Axes, points: Sequence[CurvePoint]) -> list[tuple[float, str, str]]:
    """Plots a line for each tap: the mean over seeds."""
    values = [by_tap(point.rows) for point in points]
    taps = list(dict.fromkeys(tap for found in values for tap in found))
    ends = []
    for position, tap in enumerate(taps):
        curve = [(point.epoch, fmean(found[tap])) for point, found in zip(points, values, strict=True) if tap in found]
        look = style.line_of(position, tap, taps)
        axes.plot(*zip(*curve, strict=True), **look)
        ends.append((curve[-1][1], tap, look["color"]))
    return ends


def _plot_test(axes: Axes, points: Sequence[CurvePoint]) -> tuple[float, str, str]:
    """Plots the value on test with its interval, or with its range over several trainings."""
    epochs = [point.epoch for point in points]
    means, lows, highs = zip(*(_value(point) for point in points), strict=True)
    errors = (
        [mean - low for mean, low in zip(means, lows, strict=True)],
        [high - mean for mean, high in zip(means, highs, strict=True)],
    )
    axes.errorbar(epochs, means, errors, color=style.BLACK, marker="*", markersize=6, elinewidth=0.8, zorder=4)
    return means[-1], "test", style.BLACK


def _value(point: CurvePoint) -> tuple[float, float, float]:
    if len(point.rows) > 1:
        values = [row.value for row in point.rows]
        return fmean(values), min(values), max(values)
    [row] = point.rows
    return row.value, row.value if row.low is None else row.low, row.value if row.high is None else row.high


def _error_bars(curve: TrainingCurve) -> str:
    trainings = max(len(point.rows) for point in curve.points)
    if trainings > 1:
        return f"its range over {trainings} trainings"
    counts = {measure.n for point in curve.points for measure in measures_on_test(point.rows)}
    return f"its 95 % interval (n = {'/'.join(f'{count:,}' for count in sorted(counts))})"


def _baselines(data: FigureData, curve: TrainingCurve) -> list[tuple[str, float]]:
    """Returns the baselines of other kinds, such as raw pixels, and the same network with random weights."""
    network = curve.points[0].rows[0].backbone
    found = []
    for final in data.backbones:
        backbone = final.rows[0].backbone
        same = backbone.name == network.name
        if final.baseline and (not same or backbone.parameters == network.parameters):
            found.append(("random weights" if same else final.label, final.value))
    return found


def _real_images(points: Sequence[CurvePoint], name: str) -> float | None:
    """Returns the metric of real images, mean over records: one for all epochs, as real images do not change."""
    known = [measure.floor for point in points for measure in point.generation.get(name, ())]
    values = [value for value in known if value is not None]
    return fmean(values) if values else None


def _plot_generation(axes: Axes, points: Sequence[CurvePoint], name: str) -> None:
    other = axes.twinx()
    known = [(point.epoch, point.generation[name]) for point in points if name in point.generation]
    epochs = [epoch for epoch, _ in known]
    values = [[measure.value for measure in measures] for _, measures in known]
    other.plot(epochs, [fmean(found) for found in values], color=style.GREY, marker="x", markersize=5, linestyle="-.")
    if any(len(found) > 1 for found in values):
        lows, highs = [min(found) for found in values], [max(found) for found in values]
        other.fill_between(epochs, lows, highs, color=style.GREY, alpha=0.2, linewidth=0)
    real_images = _real_images(points, name)
    if real_images is not None:  # without this line, a curve that flattens out looks converged
        other.axhline(real_images, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2, 1, 2)), zorder=1)
    lowest, highest = min(map(min, values)), max(map(max, values))
    if 0 < 10 * lowest < highest:  # a linear axis would hide the last improvements
        style.logarithmic_axis(other)
    else:
        other.set_ylim(0, None)
    other.set_ylabel(f"{name.partition('@')[0]} (crosses), lower is better", color=style.GREY)
    other.grid(visible=False)
    other.spines["right"].set_visible(True)
    other.tick_params(axis="y", colors=style.GREY)
