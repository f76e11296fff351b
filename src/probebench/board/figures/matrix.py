"""A matrix as coloured cells with numbers, readable in grey."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probebench.board.figures import style

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh


def plot_matrix(
    axes: Axes,
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    span: tuple[float, float],
    text: Callable[[float], str] | None,
    size: float,
) -> QuadMesh:
    """Plots a matrix with its first row on top.

    Args:
        axes: Empty axes.
        values: Values of the cells; NaN leaves a cell white.
        rows: Names of the rows.
        columns: Names of the columns; long ones are written vertically.
        span: The values of the darkest and of the brightest colour.
        text: Returns the text of a cell; None writes no texts.
        size: Font size in points.
    """
    low, high = span
    # A mesh instead of an image: cells stay sharp in vector formats.
    mesh = axes.pcolormesh(values, vmin=low, vmax=high, edgecolors="white", linewidth=0.8 if text else 0)
    for y, row in enumerate(values if text else ()):
        for x, value in enumerate(row):
            dark = value < low + style.BRIGHT * (high - low) and not math.isnan(value)
            content, colour = text(value) if text else "", "white" if dark else "black"
            axes.text(x + 0.5, y + 0.5, content, ha="center", va="center", fontsize=size, color=colour)
    longest = max(map(len, columns))
    axes.set_xticks([x + 0.5 for x in range(len(columns))], columns, rotation=90 if longest > 3 else 0, fontsize=size)
    axes.set_yticks([y + 0.5 for y in range(len(rows))], rows, fontsize=size)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return mesh
