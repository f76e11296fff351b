"""Figures that compare backbones: by block, and, for training curves, by epoch; with bands over seeds."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from probebench.board.figures import style
from probebench.board.figures.data import by_tap, measures_on_test

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from probebench.board.figures.data import FigureData, FinalBackbone

_MOST = 12  # lines that can be told apart


def families(data: FigureData) -> list[list[FinalBackbone]]:
    """Groups backbones that have the same taps; a group has at least two backbones, and at least two taps."""
    found: dict[tuple[str, ...], list[FinalBackbone]] = {}
    for backbone in data.backbones:
        taps = tuple(by_tap(backbone.rows))
        if len(taps) > 1:
            found.setdefault(taps, []).append(backbone)
    return [family[:_MOST] for family in found.values() if len(family) > 1]


def plot_blocks(data: FigureData, family: Sequence[FinalBackbone]) -> Figure:
    """Plots validation accuracy by block, a line for each backbone.

    Args:
        data: The board of the backbones.
        family: Backbones with the same taps.
    """
    figure = style.new_figure(style.PAGE, 3.2)
    axes = figure.add_subplot()
    taps, seeds = list(by_tap(family[0].rows)), 1
    for position, backbone in enumerate(family):
        values = by_tap(backbone.rows)
        _line(axes, range(len(taps)), [values[tap] for tap in taps], position, backbone.label, dashed=backbone.baseline)
        seeds = max(seeds, len(values[taps[0]]))
    axes.set_xticks(range(len(taps)), taps)
    axes.set_xlabel("block")
    style.percent_axis(axes, f"validation {data.metric}")
    axes.set_title(f"{data.title}: by block")
    axes.legend(loc="best", handlelength=3)
    style.note(figure, "each block at its best level; dashed: baselines" + _bands(seeds))
    return figure


def plot_epochs(data: FigureData) -> Figure:
    """Plots test accuracy by epoch, a line for each training curve.

    Args:
        data: A board with at least two training curves.
    """
    figure = style.new_figure(style.PAGE, 3.2)
    axes = figure.add_subplot()
    style.epoch_axis(axes, sorted({point.epoch for curve in data.curves for point in curve.points}))
    records = 1
    for position, curve in enumerate(data.curves[:_MOST]):
        values = [[measure.value for measure in measures_on_test(point.rows)] for point in curve.points]
        _line(axes, [point.epoch for point in curve.points], values, position, curve.label)
        records = max(records, *map(len, values))
    baselines = [(backbone.label, backbone.value) for backbone in data.backbones if backbone.baseline]
    ends = style.baseline_lines(axes, baselines)
    style.percent_axis(axes, f"test {data.metric}")
    axes.set_title(f"{data.title}: by epoch")
    style.label_ends(axes, ends)
    axes.legend(loc="best", handlelength=3)
    style.note(figure, "at the point chosen on validation; dotted: baselines" + _bands(records))
    return figure


def _line(
    axes: Axes, x: Sequence[int], values: Sequence[Sequence[float]], position: int, label: str, *, dashed: bool = False
) -> None:
    """Plots means, and their ranges as a band."""
    colour = style.COLOURS[position % len(style.COLOURS)]
    axes.plot(
        x,
        [fmean(found) for found in values],
        color=colour,
        marker=style.MARKERS[position % len(style.MARKERS)],
        linestyle="--" if dashed else "-",
        markeredgecolor="white",
        markeredgewidth=0.4,
        label=label,
    )
    if any(len(found) > 1 for found in values):
        lows, highs = [min(found) for found in values], [max(found) for found in values]
        axes.fill_between(x, lows, highs, color=colour, alpha=0.25, linewidth=0)


def _bands(seeds: int) -> str:
    return f"; line and band: mean and range over {seeds} seeds (of trainings or probes)" if seeds > 1 else ""
