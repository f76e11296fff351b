"""`probebench run`: the plan is carried out, one pass of each backbone over each split, one record for each cell."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probebench.extraction.workbench import Workbench
from probebench.harness.cell_file import CellFile
from probebench.harness.cells import CellResult, PlannedCell, failed
from probebench.planning.request import RequestError
from probebench.store.features import Store
from probebench.util.errors import ProbebenchError, RecordError
from probebench.util.files import make_writable
from probebench.util.progress import track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from probebench.extraction.context import Context
    from probebench.planning.jobs import Job, Kind


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        cells: In the order of the plan.
        forwarded: Images that went through a backbone or were generated, by titles of backbone and dataset.
        seconds: Wall-clock time.
    """

    cells: list[CellResult] = field(default_factory=list)
    forwarded: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> list[CellResult]:
        """The cells without a result."""
        return [cell for cell in self.cells if cell.record.status == "error"]


def plan(jobs: Sequence[Job], *, results: Path, store: Path) -> list[list[PlannedCell]]:
    """Lists the cells of each job, and finds their records. Nothing is forwarded or written.

    Components are built only where no description of them is remembered: a record is found by their fingerprints.

    Raises:
        UsageError: No requested backbone has the taps, levels or pool that were requested.
    """
    return _plan(jobs, Workbench(store, writes=False), results, ())


def run(jobs: Sequence[Job], *, results: Path, store: Path, argv: Sequence[str] = ()) -> RunResult:
    """Runs all cells that have no record yet.

    A cell that fails leaves a record with the reason, and the others are run.

    Args:
        jobs: What to run.
        results: Folder of the records.
        store: Folder of the feature store.
        argv: The command, for the records.

    Raises:
        UsageError: No requested backbone has the taps, levels or pool that were requested, or a folder cannot be
            written: found before any work.
        StoreError: The store is a file.
        RecordError: A record cannot be written. Records that were written before stay.
    """
    started = time.perf_counter()
    make_writable(results, "--results")
    features, bench, result = Store(store), Workbench(store), RunResult()
    last = {job.backbone: number for number, job in enumerate(jobs)}
    planned = _plan(jobs, bench, results, tuple(argv))
    for number, (job, cells) in enumerate(zip(jobs, planned, strict=True)):
        missing = [cell.file for cell in cells if not cell.done]
        if missing:
            made, images = _run_job(job, missing, bench, features, cells[0].error)
            key = job.backbone.title, job.dataset.title
            result.forwarded[key] = result.forwarded.get(key, 0) + images
            fresh = iter(made)
            result.cells += [cell.done or next(fresh) for cell in cells]
        else:
            result.cells += [cell.done for cell in cells if cell.done]
        if last[job.backbone] == number:
            bench.release(job.backbone)
            if missing:
                gc.collect()  # a network whose hooks refer to it is a cycle, and the next one may need its memory
    result.forwarded = {key: images for key, images in result.forwarded.items() if images}
    result.seconds = time.perf_counter() - started
    return result


def _plan(jobs: Sequence[Job], bench: Workbench, results: Path, argv: tuple[str, ...]) -> list[list[PlannedCell]]:
    planned = [_planned(job, bench, results, argv) for job in track(jobs, "load networks, check for finished records")]
    errors: dict[object, list[ProbebenchError | None]] = defaultdict(list)
    for job, cells in zip(jobs, planned, strict=True):
        if job.contender:
            probes = tuple(ruled.protocol.name for ruled, _ in job.cells)
            errors[job.dataset.title, probes].append(cells[0].error)
    for of_contenders in errors.values():
        refused = [error for error in of_contenders if isinstance(error, RequestError)]
        if len(refused) == len(of_contenders):
            raise refused[0]
    return planned


def _planned(job: Job, bench: Workbench, results: Path, argv: tuple[str, ...]) -> list[PlannedCell]:
    try:
        description = bench.describe(job)
    except ProbebenchError as error:
        return [PlannedCell(CellFile(job, *cell, results, None, argv), None, None, error) for cell in job.cells]
    points = len(description.backbone.points.points) if description.backbone.points else None
    planned = []
    for ruled, seed in job.cells:
        file = CellFile(job, ruled, seed, results, description, argv)
        record = file.finished()
        done = CellResult(file.path, record, fresh=False) if record else None
        planned.append(PlannedCell(file, points, done))
    return planned


def _run_job(
    job: Job, files: Sequence[CellFile], bench: Workbench, store: Store, error: ProbebenchError | None
) -> tuple[list[CellResult], int]:
    """Runs the cells of a job that have no record; all of them fail where its components cannot be used."""
    try:
        if error:
            raise error
        return _run_cells(job.kind)(bench.open(job), files, store)
    except RecordError:
        raise
    except ProbebenchError as reason:
        return [failed(file, reason) for file in files], 0


def _run_cells(kind: Kind) -> Callable[[Context, Sequence[CellFile], Store], tuple[list[CellResult], int]]:
    """Returns how cells of a kind are run. Imported here: a run with nothing to do needs no PyTorch."""
    if kind == "features":
        from probebench.harness import feature_cells

        return feature_cells.run_cells
    if kind == "finetuning":
        from probebench.harness import finetuning_cells

        return finetuning_cells.run_cells
    from probebench.harness import generation_cells

    return generation_cells.run_cells
