"""CKA and CKNNA of the taps of two backbones, side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probebench.board.figures import style
from probebench.board.figures.matrix import plot_matrix
from probebench.stats.tap_matrix import CKNNA_K

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probebench.stats.tap_matrix import TapMatrix

_READABLE = 12  # columns of numbers that fit side by side


def plot_similarity(matrix: TapMatrix) -> Figure:
    """Plots both matrices side by side. Similarities below 0, which occur by chance, have the colour of 0.

    Args:
        matrix: Similarities of the taps of two backbones.
    """
    rows, columns = matrix.a.labels, matrix.b.labels
    figure = style.new_figure(style.PAGE, max(2.2, min(style.PAGE, 1.3 + 0.28 * len(rows))))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, title, values in zip(
        panels, ("linear CKA, unbiased", f"CKNNA, k = {CKNNA_K}"), (matrix.cka, matrix.cknna), strict=True
    ):
        cells = plot_matrix(
            axes,
            values,
            rows,
            columns,
            span=(0, 1),
            text=_number if len(columns) <= _READABLE else None,
            size=6.5,
        )
        axes.set_title(title)
        axes.set_xlabel(matrix.b.title)
    panels[1].invert_yaxis()  # the panels share the axis, and each of them has inverted it
    panels[0].set_ylabel(matrix.a.title)
    bar = figure.colorbar(cells, ax=panels, pad=0.02, aspect=25)
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    batches = f"; CKA over minibatches of {matrix.minibatch}" if matrix.minibatch else ""
    chance = f"CKNNA by chance {CKNNA_K / matrix.images:.3f}"
    style.note(figure, f"{matrix.images:,} {matrix.split} images of {matrix.dataset}; {chance}{batches}")
    return figure


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}".replace("-0.00", "0.00")
