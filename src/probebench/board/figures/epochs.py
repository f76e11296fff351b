"""Accuracy by epoch for each block of one training, and how far what it draws is from real images."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from probebench.board.figures import style
from probebench.board.figures.data import by_tap, test_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from probebench.board.figures.data import Sheet, Stage, Training


def draw(sheet: Sheet, training: Training, distance: str = "") -> Figure:
    """One figure of a training.

    Args:
        sheet: The board it belongs to.
        training: By epoch.
        distance: Name of a metric of what the network draws, for a second axis; empty for none.
    """
    figure = style.new_figure(style.PAGE, 3.4)
    axes = figure.add_subplot()
    epochs = [stage.epoch for stage in training.stages]
    style.epoch_axis(axes, epochs)
    ends = _blocks(axes, training.stages)
    ends.append(_test(axes, training.stages))
    ends += style.floors(axes, _floors(sheet, training))
    style.percent_axis(axes, sheet.metric)
    axes.set_title(f"{training.label} on {sheet.title}")
    style.label_ends(axes, ends, x=1.11 if distance else 1.01)
    if distance:
        _distance(axes, training.stages, distance)
    text = (
        "coloured: validation, each block at its best level; black: test at the point that validation chose, "
        f"with its {_interval(training)}; dotted: test of baselines"
    )
    style.note(figure, f"{text}\ncrosses: {distance}" + _reference(training, distance) if distance else text)
    return figure


def distances(training: Training) -> list[str]:
    """The metrics of what the network draws that are known of several epochs, by name."""
    names = {name for stage in training.stages for name in stage.distances}
    return sorted(name for name in names if sum(name in stage.distances for stage in training.stages) > 1)


def _blocks(axes: Axes, stages: Sequence[Stage]) -> list[tuple[float, str, str]]:
    """A line for each tap: the mean over seeds."""
    values = [by_tap(stage.rows) for stage in stages]
    taps = list(dict.fromkeys(tap for found in values for tap in found))
    ends = []
    for position, tap in enumerate(taps):
        curve = [(stage.epoch, fmean(found[tap])) for stage, found in zip(stages, values, strict=True) if tap in found]
        look = style.line_of(position, tap, taps)
        axes.plot(*zip(*curve, strict=True), **look)
        ends.append((curve[-1][1], tap, look["color"]))
    return ends


def _test(axes: Axes, stages: Sequence[Stage]) -> tuple[float, str, str]:
    """The measured value, with its interval, or its range over several trainings."""
    epochs = [stage.epoch for stage in stages]
    means, lows, highs = zip(*(_value(stage) for stage in stages), strict=True)
    errors = (
        [mean - low for mean, low in zip(means, lows, strict=True)],
        [high - mean for mean, high in zip(means, highs, strict=True)],
    )
    axes.errorbar(epochs, means, errors, color=style.BLACK, marker="*", markersize=6, elinewidth=0.8, zorder=4)
    return means[-1], "test", style.BLACK


def _value(stage: Stage) -> tuple[float, float, float]:
    if len(stage.rows) > 1:
        values = [row.value for row in stage.rows]
        return fmean(values), min(values), max(values)
    [row] = stage.rows
    return row.value, row.value if row.low is None else row.low, row.value if row.high is None else row.high


def _interval(training: Training) -> str:
    runs = max(len(stage.rows) for stage in training.stages)
    if runs > 1:
        return f"range over {runs} trainings"
    counts = {measure.n for stage in training.stages for measure in test_values(stage.rows)}
    return f"95 % interval (n = {'/'.join(f'{count:,}' for count in sorted(counts))})"


def _floors(sheet: Sheet, training: Training) -> list[tuple[str, float]]:
    """Raw pixels and their like, and the same network with random weights."""
    network = training.stages[0].rows[0].backbone
    found = []
    for final in sheet.finals:
        backbone = final.rows[0].backbone
        same = backbone.name == network.name
        if final.baseline and (not same or backbone.parameters == network.parameters):
            found.append(("random weights" if same else final.label, final.value))
    return found


def _floor(stages: Sequence[Stage], name: str) -> float | None:
    """The distance of real images, mean over records. One for all epochs: real images do not change."""
    known = [measure.floor for stage in stages for measure in stage.distances.get(name, ())]
    floors = [floor for floor in known if floor is not None]
    return fmean(floors) if floors else None


def _reference(training: Training, distance: str) -> str:
    return "" if _floor(training.stages, distance) is None else "; line of dashes and dots: that of real images"


def _distance(axes: Axes, stages: Sequence[Stage], name: str) -> None:
    other = axes.twinx()
    known = [(stage.epoch, stage.distances[name]) for stage in stages if name in stage.distances]
    epochs = [epoch for epoch, _ in known]
    drawn = [[measure.value for measure in found] for _, found in known]
    other.plot(epochs, [fmean(values) for values in drawn], color=style.GREY, marker="x", markersize=5, linestyle="-.")
    if any(len(values) > 1 for values in drawn):
        lows, highs = [min(values) for values in drawn], [max(values) for values in drawn]
        other.fill_between(epochs, lows, highs, color=style.GREY, alpha=0.2, linewidth=0)
    floor = _floor(stages, name)
    if floor is not None:  # without it a curve that flattens out looks finished
        other.axhline(floor, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2, 1, 2)), zorder=1)
    lowest, highest = min(map(min, drawn)), max(map(max, drawn))
    if 0 < 10 * lowest < highest:  # the last steps towards the floor are as much to be seen as the first
        style.logarithmic_axis(other)
    else:
        other.set_ylim(0, None)
    other.set_ylabel(f"{name.partition('@')[0]} (crosses), lower is better", color=style.GREY)
    other.grid(visible=False)
    other.spines["right"].set_visible(True)
    other.tick_params(axis="y", colors=style.GREY)
