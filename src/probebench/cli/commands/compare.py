"""`probebench compare A B`: can two results be told apart?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probebench.cli.output import print_json
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from probebench.records.schema import Record


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same test images.

    Attributes:
        both_right: Number of images that both classify correctly.
        only_a: Number that only the first does.
        only_b: Number that only the second does.
        both_wrong: Number that neither does.
        low: Lower end of the 95 % interval of the difference, by paired bootstrap.
        high: Upper end.
        p: p-value of the exact two-sided McNemar test.
    """

    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    low: float
    high: float
    p: float

    @property
    def n(self) -> int:
        """Number of test images."""
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def difference(self) -> float:
        """Accuracy of the first minus accuracy of the second."""
        return (self.only_a - self.only_b) / self.n


def compare(
    a: Annotated[Path, typer.Argument(help="A record, or a folder that holds one.")],
    b: Annotated[Path, typer.Argument(help="Another, on the same dataset.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compares the predictions of two records image by image: difference, interval and an exact McNemar test."""
    from probebench.records.files import read_record

    paths = record_in(a), record_in(b)
    first, second = read_record(paths[0]), read_record(paths[1])
    result = compare_records((first, paths[0]), (second, paths[1]))
    if as_json:
        rows = {"a": _identity(first, paths[0]), "b": _identity(second, paths[1])}
        print_json({**rows, **asdict(result), "n": result.n, "difference": result.difference})
    else:
        typer.echo(_text(first, second, result))


def compare_records(a: tuple[Record, Path], b: tuple[Record, Path]) -> Comparison:
    """Compares two records by their per-image predictions.

    Args:
        a: A record and its file.
        b: Another.

    Raises:
        UsageError: They were not measured on the same images, or are measures of drawn images.
        RecordError: One has no predictions, or their file is missing or altered.
    """
    from probebench.records.files import read_predictions
    from probebench.stats.intervals import paired_bootstrap
    from probebench.stats.significance import mcnemar

    for record, path in (a, b):
        if record.generation:
            raise UsageError(
                "it measures drawn images, and has no predictions to compare",
                where=str(path),
                hint="probebench leaderboard build puts such records side by side",
            )
    right_a, right_b = read_predictions(*a)[1], read_predictions(*b)[1]
    if _test_images(a[0]) != _test_images(b[0]):
        raise UsageError(
            "the records were not measured on the same test images",
            where=f"{a[1]} and {b[1]}",
            hint="compare records of one dataset, in one version, without --limit",
        )
    low, high = paired_bootstrap(right_a, right_b)
    return Comparison(
        both_right=int((right_a & right_b).sum()),
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
        both_wrong=int((~right_a & ~right_b).sum()),
        low=low,
        high=high,
        p=mcnemar(right_a, right_b),
    )


def record_in(path: Path) -> Path:
    """The file of a record, or the one in a folder.

    Raises:
        UsageError: The folder holds none, or several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.rglob("*.json"))
    if len(found) != 1:
        raise UsageError(f"the folder holds {len(found)} records, not one", where=str(path), hint="name a record file")
    return found[0]


def _test_images(record: Record) -> tuple[str | None, object]:
    part = record.parts.get("test")
    return (record.cell.dataset.fingerprints.get(part.split) if part else None, part)


def _identity(record: Record, path: Path) -> dict[str, object]:
    cell = record.cell
    return {"record": str(path), "backbone": cell.backbone.title, "probe": cell.probe.title, "seed": cell.seed}


def _text(a: Record, b: Record, result: Comparison) -> str:
    from tabulate import tabulate

    from probebench.stats.intervals import wilson
    from probebench.stats.significance import ALPHA

    right = {"A": result.both_right + result.only_a, "B": result.both_right + result.only_b}
    rows = []
    for name, record in (("A", a), ("B", b)):
        low, high = wilson(right[name], result.n)
        share = f"{100 * right[name] / result.n:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        cell = record.cell
        manner = f" ({record.readout})" * bool(record.readout)
        rows.append([name, f"{cell.backbone.title}{manner}", cell.probe.title, f"seed {cell.seed}", share])
    images = tabulate(
        [["A right", result.both_right, result.only_a], ["A wrong", result.only_b, result.both_wrong]],
        headers=["", "B right", "B wrong"],
    )
    discordant = result.only_a + result.only_b
    verdict = "A and B differ" if result.p < ALPHA else "A and B cannot be told apart"
    return "\n".join(
        [
            f"{a.cell.dataset.title}: top-1 in percent on {result.n:,} test images, with 95 % interval",
            tabulate(rows, tablefmt="plain", disable_numparse=True),
            f"A - B = {100 * result.difference:+.1f} points "
            f"({100 * result.low:+.1f} to {100 * result.high:+.1f}, paired bootstrap)",
            "",
            images,
            "",
            f"{verdict}: exact McNemar p = {result.p:.3g}, from the {discordant:,} images that only one has right",
        ]
    )
