"""Tables and JSON on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import typer

from probebench.util.errors import ProbebenchWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO


def print_json(document: Any) -> None:  # noqa: ANN401 - any JSON document
    """Prints one JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table: fitted to the terminal, or, into a file or pipe, with one line for each row."""
    cells = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_fitted(headers, cells)
        return
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    for row in (headers, *cells):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_fitted(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))  # as `Text`, or square brackets would be read as markup
    Console().print(table)


@contextlib.contextmanager
def quiet_stdout(wanted: bool) -> Iterator[None]:
    """Keeps what foreign code prints away from the JSON document on stdout."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def show_warnings() -> Iterator[None]:
    """Tells a person what each `ProbebenchWarning` says, in one line and once; Python's way shows our source too."""
    told: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, ProbebenchWarning):
            pythons_way(message, category, filename, lineno, file, line)
        elif str(message) not in told:
            told.add(str(message))
            typer.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ProbebenchWarning)
        pythons_way, warnings.showwarning = warnings.showwarning, show
        yield
