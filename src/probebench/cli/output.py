"""Tables and JSON on stdout, warnings on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from typing import TYPE_CHECKING, Any

import typer

from probebench.util.errors import ProbebenchWarning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TextIO

METRICS: Mapping[str, str] = {"top1": "top-1", "mean_per_class": "mean per class"}
"""Printed names of the metrics that rows are ranked by."""


def print_json(document: Any) -> None:  # noqa: ANN401 - any JSON document
    """Prints one JSON document."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table: fitted to the width of a terminal; in a file or pipe with one line for each row."""
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
        table.add_row(*map(Text, row))  # as `Text`, because square brackets in a string are markup
    Console().print(table)


@contextlib.contextmanager
def quiet_stdout(active: bool) -> Iterator[None]:
    """Redirects the output of plugins and libraries to stderr, so that stdout holds only the JSON document."""
    with contextlib.redirect_stdout(sys.stderr) if active else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def show_warnings() -> Iterator[None]:
    """Prints each `ProbebenchWarning` once, in one line; Python's own format would add a line of source."""
    printed: set[str] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, ProbebenchWarning):
            default(message, category, filename, lineno, file, line)
        elif str(message) not in printed:
            printed.add(str(message))
            typer.echo(f"warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ProbebenchWarning)
        default, warnings.showwarning = warnings.showwarning, show
        yield
