"""`probebench compare A B`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probebench.cli.output import print_json

if TYPE_CHECKING:
    from probebench.analysis.compare import Comparison
    from probebench.board.collect import LoadedRecord


def compare(
    a: Annotated[Path, typer.Argument(help="The file of a record, or a folder that holds one record")],
    b: Annotated[Path, typer.Argument(help="A second record on the same dataset")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False,
) -> None:
    """Compares two records image by image: difference with interval, and an exact McNemar test."""
    from probebench.analysis.compare import compare_records
    from probebench.board.collect import load_one

    first, second = load_one(a), load_one(b)
    result = compare_records(first, second)
    if as_json:
        rows = {"a": _identity(first), "b": _identity(second)}
        print_json({**rows, **asdict(result), "n": result.n, "difference": result.difference})
    else:
        typer.echo(_text(first, second, result))


def _identity(loaded: LoadedRecord) -> dict[str, object]:
    cell = loaded.record.cell
    return {"record": str(loaded.path), "backbone": cell.backbone.title, "probe": cell.probe.title, "seed": cell.seed}


def _text(a: LoadedRecord, b: LoadedRecord, result: Comparison) -> str:
    from tabulate import tabulate

    rows = []
    for name, loaded, (value, low, high) in (("A", a, result.a), ("B", b, result.b)):
        cell, manner = loaded.record.cell, loaded.record.readout
        share = f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        title = f"{cell.backbone.title} ({manner})" if manner else cell.backbone.title
        rows.append([name, title, cell.probe.title, f"seed {cell.seed}", share])
    images = tabulate(
        [["A right", result.both_right, result.only_a], ["A wrong", result.only_b, result.both_wrong]],
        headers=["", "B right", "B wrong"],
    )
    return "\n".join(
        [
            f"{a.record.cell.dataset.title}: top-1 in percent on {result.n:,} test images, with 95 % interval "
            "(of the difference: paired bootstrap)",
            tabulate(rows, tablefmt="plain", disable_numparse=True),
            "",
            images,
            "",
            _verdict(result),
        ]
    )


def _verdict(result: Comparison) -> str:
    """Returns the result in one sentence, such as ``A is better by 15.0 points (5.0 to 25.0); ...``."""
    p = "p < 0.001" if result.p < 0.001 else f"p = {result.p:.3f}"
    points = [100 * value for value in (result.difference, result.low, result.high)]
    if not result.significant:
        difference, low, high = (f"{value:+.1f}" for value in points)
        discordant = result.only_a + result.only_b
        decide = "images decides" if discordant == 1 else "images decide"
        return (
            f"A and B cannot be told apart: A - B = {difference} points ({low} to {high}); exact McNemar {p}; "
            f"{discordant:,} of {result.n:,} {decide} ({result.only_a:,} for A, {result.only_b:,} for B)"
        )
    better, won, lost = ("A", result.only_a, result.only_b)
    if result.difference < 0:
        better, won, lost = ("B", result.only_b, result.only_a)
        points = [-points[0], -points[2], -points[1]]
    difference, low, high = (f"{value:.1f}" for value in points)
    return (
        f"{better} is better by {difference} points ({low} to {high}); exact McNemar {p}; "
        f"{won:,} images against {lost:,}"
    )
