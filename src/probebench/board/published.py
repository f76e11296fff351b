"""Published results, shown beside a board's own and never ranked with them: their protocols are others."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.board.pages.text import METRICS, NONE, code, percent, table
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probebench.records.schema import Record

FILE = "published.csv"
COLUMNS = (
    "boards",
    "probe",
    "work",
    "backbone",
    "tap",
    "noise",
    "metric",
    "value",
    "measured",
    "chosen",
    "source",
    "note",
)


@dataclass(frozen=True)
class Published:
    """A number that a work states.

    Attributes:
        boards: Titles of the datasets beside whose boards it is shown.
        probe: Name of the kind of probe, such as ``knn``.
        work: Authors or project, and year.
        backbone: What was read, in the work's words.
        tap: Where, in the work's words; may be empty.
        noise: At which level, in the work's words; may be empty.
        metric: As in records, such as ``top1``.
        value: 0 to 1.
        measured: The split the number was measured on.
        chosen: The split that tap, level, epoch or setting were chosen on; empty where the work does not say.
        source: Where the number stands.
        note: Whatever else a reader has to know.
    """

    boards: tuple[str, ...]
    probe: str
    work: str
    backbone: str
    tap: str
    noise: str
    metric: str
    value: float
    measured: str
    chosen: str
    source: str
    note: str


def read_published(path: Path) -> list[Published]:
    """The rows of a ``published.csv``; none where there is no such file.

    Raises:
        UsageError: Columns or a value are wrong; the message names the line.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UsageError("wrong columns", where=str(path), hint=",".join(COLUMNS))
            return [_row(cells, f"{path}, line {reader.line_num}") for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot be read: {error}", where=str(path), hint="a CSV file in UTF-8") from error


def _row(cells: dict[str, str], where: str) -> Published:
    if None in cells or None in cells.values():
        raise UsageError(f"not {len(COLUMNS)} cells", where=where, hint="quote a cell that holds a comma")
    if cells["metric"] not in METRICS:
        raise UsageError(f"no metric {cells['metric']!r}", where=where, hint="one of " + ", ".join(METRICS))
    try:
        value = float(cells["value"])
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"value {cells['value']!r} is not a share", where=where, hint="from 0 to 1, such as 0.818")
    return Published(**{**cells, "boards": tuple(cells["boards"].split()), "value": value})  # type: ignore[arg-type]


def beside(rows: Sequence[Published], record: Record) -> tuple[Published, ...]:
    """Those of a board's dataset and kind of probe, best first.

    Args:
        rows: All published rows.
        record: Any record of the board.
    """
    dataset, probe = record.cell.dataset.title, record.cell.probe.name.rpartition("/")[2]
    found = [row for row in rows if dataset in row.boards and row.probe == probe]
    return tuple(sorted(found, key=lambda row: (-row.value, row.work, row.backbone)))


def section(rows: Sequence[Published]) -> list[str]:
    """The board's part in markdown, as heading, words and table; nothing where there are no rows."""
    if not rows:
        return []
    headers = ["Work", "Backbone", "Metric", "Value", "Tap", "Noise", "Measured on", "Chosen on", "Source", "Note"]
    lines = [
        [
            row.work,
            row.backbone,
            METRICS[row.metric],
            percent(row.value),
            code(row.tap) if row.tap else NONE,
            row.noise or NONE,
            row.measured,
            row.chosen or "not stated",
            row.source,
            row.note,
        ]
        for row in rows
    ]
    intro = (
        "What others state, in their words and under their protocols. Not ranked: data, augmentation, fit and choice "
        "differ. A number whose setting was chosen on the images that it was measured on is too high for that alone."
    )
    left = [header for header in headers if header != "Value"]
    return [
        "## Published",
        intro,
        table(headers, [[cell.replace("|", "\\|") for cell in line] for line in lines], left),
    ]
