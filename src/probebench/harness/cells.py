"""Cells before and after a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from probebench.api import ProbebenchError
    from probebench.harness.cell_file import CellFile
    from probebench.planning.description import JobDescription
    from probebench.records.schema import Record


@dataclass(frozen=True)
class CellResult:
    """A cell after the run.

    Attributes:
        path: File of its record.
        record: The record.
        fresh: Whether this run made it; False where it existed.
        error: The error of a failed cell, with its traceback.
    """

    path: Path
    record: Record
    fresh: bool
    error: ProbebenchError | None = None


@dataclass(frozen=True)
class PlannedCell:
    """A cell before the run.

    Attributes:
        file: The cell.
        path: File of its record; None where its components cannot be described.
        points: Number of points that are read; None where there is no path, and for a measure of generated images.
        done: Its record, if it exists.
        error: Why its components cannot be described.
    """

    file: CellFile
    path: Path | None
    points: int | None
    done: CellResult | None
    error: ProbebenchError | None = None


def failed(file: CellFile, description: JobDescription | None, error: ProbebenchError) -> CellResult:
    """Writes the record of a failed cell.

    Raises:
        RecordError: It cannot be written.
    """
    return CellResult(file.path(None), file.fail(description, error), fresh=True, error=error)
