"""Published results: shown on a board, but not ranked, because their protocols differ."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.board.pages.text import EMPTY, METRICS, code, percent, table
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
    """A result that a publication states.

    Attributes:
        boards: Titles of the datasets beside whose boards it is shown.
        probe: Name of the kind of probe, such as ``knn``.
        work: Authors or project, and year.
        backbone: The backbone, in the work's words.
        tap: The tap, in the work's words; may be empty.
        noise: The noise level, in the work's words; may be empty.
        metric: Name as in records, such as ``top1``.
        value: 0 to 1.
        measured: The split that the value was measured on.
        chosen: The split that tap, level, epoch or setting were chosen on; empty where the work does not state it.
        source: Table, figure or section that states the value.
        note: What else a reader has to know.
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
    """Reads the rows of a ``published.csv``; there are none if the file does not exist.

    Raises:
        UsageError: The columns or a value are wrong; the message names the line.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise UsageError(
                    "the columns are wrong", where=str(path), hint="write this header: " + ",".join(COLUMNS)
                )
            return [_row(cells, f"{path}, line {reader.line_num}") for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"the file cannot be read: {error}", where=str(path), hint="save it as a CSV file in UTF-8"
        ) from error


def _row(cells: dict[str, str], where: str) -> Published:
    if None in cells or None in cells.values():
        raise UsageError(
            f"the row does not have {len(COLUMNS)} cells", where=where, hint="quote a cell that holds a comma"
        )
    if cells["metric"] not in METRICS:
        raise UsageError(
            f"no metric is called {cells['metric']!r}", where=where, hint="write one of " + ", ".join(METRICS)
        )
    try:
        value = float(cells["value"])
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(
            f"the value {cells['value']!r} is not a share",
            where=where,
            hint="write a number from 0 to 1, such as 0.818",
        )
    return Published(**{**cells, "boards": tuple(cells["boards"].split()), "value": value})  # type: ignore[arg-type]


def published_for(rows: Sequence[Published], record: Record) -> tuple[Published, ...]:
    """Selects the rows of a board's dataset and kind of probe, best first.

    Args:
        rows: All published rows.
        record: Any record of the board.
    """
    dataset, probe = record.cell.dataset.title, record.cell.probe.name.rpartition("/")[2]
    found = [row for row in rows if dataset in row.boards and row.probe == probe]
    return tuple(sorted(found, key=lambda row: (-row.value, row.work, row.backbone)))


def section(rows: Sequence[Published]) -> list[str]:
    """Builds the section of a board in markdown: heading, introduction and table; empty if there are no rows."""
    if not rows:
        return []
    headers = ["Work", "Backbone", "Metric", "Value", "Tap", "Noise", "Measured on", "Chosen on", "Source", "Note"]
    lines = [
        [
            row.work,
            row.backbone,
            METRICS[row.metric],
            percent(row.value),
            code(row.tap) if row.tap else EMPTY,
            row.noise or EMPTY,
            row.measured,
            row.chosen or "not stated",
            row.source,
            row.note,
        ]
        for row in rows
    ]
    intro = (
        "Results of other publications, in their words and under their protocols. They are not ranked, because data, "
        "augmentation, training and selection differ. A value is too high where its setting was chosen on the images "
        "that it was measured on."
    )
    left = [header for header in headers if header != "Value"]
    return [
        "## Published",
        intro,
        table(headers, [[cell.replace("|", "\\|") for cell in line] for line in lines], left),
    ]
