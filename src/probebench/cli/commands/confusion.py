"""`probebench confusion RECORD`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def confusion(
    record: Annotated[
        Path, typer.Argument(help="The file of a record, or a folder that holds one record", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="File of the figure, .png or .svg")],
) -> None:
    """Plots the confusion matrix of a record: true classes in rows, predicted classes in columns."""
    from probebench.board.collect import load_one
    from probebench.board.figures.files import check_file, write_one

    check_file(out)
    loaded = load_one(record)
    from probebench.board.figures.confusion import plot_confusion  # imports torch

    write_one(out, lambda: plot_confusion(loaded))
    typer.echo(f"wrote {out}")
