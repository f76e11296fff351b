"""Cells before and after a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from probebench.api import ProbebenchError
    from probebench.harness.cell_file import CellFile
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
        points: Number of points that are read; None for a measure of generated images, and where `error` is set.
        done: Its record, if it exists.
        error: Why its components cannot be described.
    """

    file: CellFile
    points: int | None
    done: CellResult | None
    error: ProbebenchError | None = None


def failed(file: CellFile, error: ProbebenchError) -> CellResult:
    """Writes the record of a failed cell.

    Raises:
        RecordError: It cannot be written.
    """
    return CellResult(file.failure_path, file.fail(error), fresh=True, error=error)
