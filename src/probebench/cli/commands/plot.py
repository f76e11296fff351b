"""`probebench plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from probebench.util.defaults import DEFAULT_RESULTS


def plot(
    records: Annotated[Path, typer.Option(help="Folder of the records, with its subfolders")] = (DEFAULT_RESULTS),
    out: Annotated[Path, typer.Option(help="Folder of the figures")] = Path("plots"),
) -> None:
    """Plots records: accuracy by epoch and block, heat maps of taps and levels, comparisons of backbones."""
    from probebench.board.figures import files as figures

    changed = figures.write(figures.outputs(records, out))
    for path in changed:
        typer.echo(f"wrote {path}")
    if not changed:
        typer.echo("all figures are up to date")
