"""Validation accuracy of a backbone at every tap and noise level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.board.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probebench.board.figures.data import FigureData
    from probebench.board.rows import Row


def has_grid(row: Row) -> bool:
    """Returns whether a row has several taps and several levels."""
    return len({tap for tap, _ in row.heat}) > 1 and len({level for _, level in row.heat}) > 1


def plot_heat_map(data: FigureData, label: str, row: Row) -> Figure:
    """Plots the heat map of a backbone.

    Args:
        data: The board of the backbone.
        label: Its name.
        row: With every tap at every level.
    """
    taps = list(dict.fromkeys(tap for tap, _ in row.heat))
    levels = list(dict.fromkeys(level for _, level in row.heat))
    grid = [[row.heat[tap, level] for tap in taps] for level in levels]
    low, high = min(map(min, grid)), max(map(max, grid))
    figure = style.new_figure(max(style.COLUMN, min(style.PAGE, 1.6 + 0.55 * len(taps))), 1.4 + 0.3 * len(levels))
    axes = figure.add_subplot()
    # A mesh instead of an image: cells stay sharp in vector formats.
    mesh = axes.pcolormesh(grid, vmin=low, vmax=max(high, low + 1e-9), edgecolors="white", linewidth=0.8)
    for y, level in enumerate(levels):
        for x, tap in enumerate(taps):
            value = row.heat[tap, level]
            bright = value >= low + style.BRIGHT * (high - low)
            axes.text(
                *(x + 0.5, y + 0.5, f"{100 * value:.1f}"),
                ha="center",
                va="center",
                fontsize=7,
                color="black" if bright else "white",
                weight="bold" if (tap, level) == (row.chosen.tap, row.chosen.level) else "normal",
            )
    _add_frame(figure, taps.index(row.chosen.tap), levels.index(row.chosen.level))
    axes.set_xticks([x + 0.5 for x in range(len(taps))], taps)
    axes.set_yticks([y + 0.5 for y in range(len(levels))], levels)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("block")
    axes.set_ylabel("noise level")
    axes.set_title(f"{label} on {data.title}")
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=12)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    bar.ax.grid(visible=False)
    bar.set_label("val. (%)")
    style.note(figure, _caption(data, row))
    return figure


def _caption(data: FigureData, row: Row) -> str:
    record, seeds = row.lowest_seed.record, len(row.seeds)
    facts = [f"n = {record.parts['val'].count:,}", f"chance {100 / len(record.cell.dataset.classes):.2g} %"]
    facts += [f"mean of {seeds} seeds"] if seeds > 1 else []
    point = "chosen point" if seeds == 1 else f"point chosen by {row.chosen_by} of {seeds} seeds"
    test = f"{100 * row.value:.1f} % on test"
    if row.low is not None and row.high is not None:
        test += f" ({100 * row.low:.1f} to {100 * row.high:.1f})"
    return f"validation {data.metric} ({', '.join(facts)})\nframe: {point}, {test}"


def _add_frame(figure: Figure, x: int, y: int) -> None:
    from matplotlib.patches import Rectangle

    figure.axes[0].add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="black", linewidth=2, clip_on=False))
    figure.axes[0].add_patch(
        Rectangle((x + 0.04, y + 0.04), 0.92, 0.92, fill=False, edgecolor="white", linewidth=0.8, clip_on=False)
    )
