"""Backbones against each other: block by block, and, where they are trainings, epoch by epoch; bands over seeds."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from probebench.board.figures import style
from probebench.board.figures.data import by_tap, test_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from probebench.board.figures.data import Final, Sheet

_MOST = 12  # lines that can be told apart


def families(sheet: Sheet) -> list[list[Final]]:
    """Backbones with the same taps, as far as several are to be seen together."""
    found: dict[tuple[str, ...], list[Final]] = {}
    for final in sheet.finals:
        taps = tuple(by_tap(final.rows))
        if len(taps) > 1:
            found.setdefault(taps, []).append(final)
    return [family[:_MOST] for family in found.values() if len(family) > 1]


def blocks(sheet: Sheet, family: Sequence[Final]) -> Figure:
    """Validation accuracy at each block, a line for each backbone.

    Args:
        sheet: The board they belong to.
        family: Backbones with the same taps.
    """
    figure = style.new_figure(style.PAGE, 3.2)
    axes = figure.add_subplot()
    taps, seeds = list(by_tap(family[0].rows)), 1
    for position, final in enumerate(family):
        values = by_tap(final.rows)
        _line(axes, range(len(taps)), [values[tap] for tap in taps], position, final.label, dashed=final.baseline)
        seeds = max(seeds, len(values[taps[0]]))
    axes.set_xticks(range(len(taps)), taps)
    axes.set_xlabel("block")
    style.percent_axis(axes, f"validation {sheet.metric}")
    axes.set_title(f"{sheet.title}: block by block")
    axes.legend(loc="best", handlelength=3)
    style.note(figure, "each block at its best level; dashed: baselines" + _bands(seeds))
    return figure


def epochs(sheet: Sheet) -> Figure:
    """Test accuracy by epoch, a line for each training.

    Args:
        sheet: With at least two trainings.
    """
    figure = style.new_figure(style.PAGE, 3.2)
    axes = figure.add_subplot()
    style.epoch_axis(axes, sorted({stage.epoch for training in sheet.trainings for stage in training.stages}))
    records = 1
    for position, training in enumerate(sheet.trainings[:_MOST]):
        measured = [test_values(stage.rows) for stage in training.stages]
        values = [[measure.value for measure in found] for found in measured]
        _line(axes, [stage.epoch for stage in training.stages], values, position, training.label)
        records = max(records, *map(len, values))
    ends = style.floors(axes, [(final.label, final.value) for final in sheet.finals if final.baseline])
    style.percent_axis(axes, f"test {sheet.metric}")
    axes.set_title(f"{sheet.title}: epoch by epoch")
    style.label_ends(axes, ends)
    axes.legend(loc="best", handlelength=3)
    style.note(figure, "at the point that validation chose; dotted: baselines" + _bands(records))
    return figure


def _line(
    axes: Axes, x: Sequence[int], values: Sequence[Sequence[float]], position: int, label: str, *, dashed: bool = False
) -> None:
    """A mean with the range around it."""
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
    return f"; line and band: mean and range over {seeds} seeds, of trainings or probes" if seeds > 1 else ""
