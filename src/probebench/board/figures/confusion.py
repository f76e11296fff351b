"""The confusion matrix of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.board.figures import style
from probebench.board.figures.matrix import plot_matrix
from probebench.records.files import read_predictions_and_labels
from probebench.stats.metrics import confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import Record

NUMBERED = 20
"""Largest number of classes for which shares are written into the cells; with more classes they are too small."""


def plot_confusion(loaded: LoadedRecord) -> Figure:
    """Plots the confusion matrix: for each true class (row), the shares of the predicted classes (columns).

    Args:
        loaded: A record with predictions.

    Raises:
        RecordError: The predictions cannot be read, or do not hold the true classes.
    """
    record = loaded.record
    arrays = read_predictions_and_labels(record, loaded.path)
    predicted, label = (torch.from_numpy(array.astype("int64")) for array in arrays)
    names = record.cell.dataset.classes
    counts = confusion(predicted, label, len(names)).double()
    shares = counts / counts.sum(1, keepdim=True)  # NaN, shown white, for a class without images
    numbered = len(names) <= NUMBERED
    width = max(style.COLUMN, min(style.PAGE, 1.4 + 0.3 * len(names)))
    figure = style.new_figure(width, width - 0.3)
    axes = figure.add_subplot()
    cells = plot_matrix(
        axes,
        shares.tolist(),
        names,
        names,
        span=(0, 1),
        text=_percent if numbered else None,
        size=6.5 if numbered else max(2.5, 6.5 * NUMBERED / len(names)),
    )
    axes.set_aspect("equal")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    cell = record.cell
    axes.set_title(f"{cell.backbone.title}, {record.protocol.name}, on {cell.dataset.title}", wrap=True)
    bar = figure.colorbar(cells, ax=axes, pad=0.02, aspect=25, shrink=0.8)
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    bar.ax.grid(visible=False)
    bar.set_label("share of the true class (%)")
    style.note(figure, _note(record, len(label), float((predicted == label).double().mean())))
    return figure


def _percent(share: float) -> str:
    """Returns whole percents: <1 for few, and empty for none, so that errors are easy to see."""
    if not share > 0:
        return ""
    return "<1" if share < 0.005 else f"{100 * share:.0f}"


def _note(record: Record, images: int, top1: float) -> str:
    smoke = "; a smoke run" if record.smoke else ""
    return f"{images:,} test images, seed {record.cell.seed}, top-1 {100 * top1:.1f} %{smoke}"
