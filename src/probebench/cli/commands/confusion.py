"""`probebench confusion RECORD`: which classes are taken for which."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def confusion(
    record: Annotated[Path, typer.Argument(help="A record, or a folder that holds one.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File of the picture, .png or .svg.")],
) -> None:
    """Draws the confusion matrix of a record: true classes in rows, predicted ones in columns, in shares of a row."""
    from probebench.board.figures import files as figures
    from probebench.cli.commands.compare import record_in

    figures.check_file(out)
    from probebench.board.figures import confusion as picture  # torch

    path = record_in(record)
    figures.write_one(out, lambda: picture.draw(path))
    typer.echo(f"wrote {out}")
