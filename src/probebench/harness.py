"""`probebench run`: the plan is carried out, one pass of each backbone over each split, one record for each cell."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch

from probebench.api import Probe, ProbebenchError, UsageError
from probebench.cells import CellFile, Spent
from probebench.extract import extract
from probebench.inputs import plugin_errors
from probebench.plan import jobs
from probebench.probing import Rows, measure
from probebench.progress import bar
from probebench.splits import limit
from probebench.store import Store
from probebench.workbench import Workbench, heard_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from probebench.plan import Job, Request
    from probebench.records import Record
    from probebench.registry import Registry
    from probebench.workbench import Context


@dataclass(frozen=True)
class CellResult:
    """A cell after the run.

    Attributes:
        path: File of its record.
        record: What it says.
        fresh: Whether it was made by this run; otherwise it was there.
    """

    path: Path
    record: Record
    fresh: bool


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        cells: In the order of the plan.
        forwarded: Images that passed a backbone, by titles of backbone and dataset.
        seconds: Wall-clock time.
    """

    cells: list[CellResult] = field(default_factory=list)
    forwarded: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failed(self) -> list[CellResult]:
        """The cells without a number."""
        return [cell for cell in self.cells if cell.record.status == "error"]


@dataclass(frozen=True)
class PlannedCell:
    """One cell of a plan.

    Attributes:
        file: The cell.
        points: How many points are read; None when backbone or dataset could not be built.
        done: Its record, if it is there.
        error: Why nothing could be built.
    """

    file: CellFile
    points: int | None
    done: CellResult | None
    error: ProbebenchError | None = None


def plan(request: Request, *, argv: Sequence[str] = (), registry: Registry | None = None) -> list[list[PlannedCell]]:
    """The cells of a request, grouped by the features they share, and which of them are done.

    Backbones and datasets are built, since a record is known by their fingerprints; nothing is forwarded.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    bench = Workbench(request)
    return [_planned(job, request, bench, tuple(argv)) for job in jobs(request, registry)]


def _planned(job: Job, request: Request, bench: Workbench, argv: tuple[str, ...]) -> list[PlannedCell]:
    files = [CellFile(job, request, probe, seed, argv) for probe, seed in job.cells]
    try:
        context = bench.context(job)
    except UsageError:
        raise
    except ProbebenchError as error:
        return [PlannedCell(file, None, None, error) for file in files]
    cells = []
    for file in files:
        record = file.finished(context)
        done = CellResult(file.path(context), record, fresh=False) if record else None
        cells.append(PlannedCell(file, len(context.reading.points), done))
    return cells


def run(
    request: Request,
    *,
    argv: Sequence[str] = (),
    registry: Registry | None = None,
    finished: Callable[[CellResult], None] = lambda _: None,
) -> RunResult:
    """Runs all cells that have no record yet.

    A cell that fails leaves a record that says why, and the others run.

    Args:
        request: What to run.
        argv: The command, for the records.
        registry: Where components are looked up; by default what is installed.
        finished: Called with each cell as its record is there.

    Raises:
        UsageError: A name, option or value is wrong, or a folder cannot be written: found before any work.
        PluginError: A component is there and cannot be used.
        RecordError: A record cannot be written.
    """
    started = time.perf_counter()
    check_writable(request.results)
    groups = plan(request, argv=argv, registry=registry)
    bench, result = Workbench(request), RunResult()

    def finish(cell: CellResult) -> None:
        result.cells.append(cell)
        finished(cell)

    for cells in groups:
        for cell in cells:
            if cell.done:
                finish(cell.done)
            elif cell.error:
                finish(_failed(cell.file, None, cell.error))
        if missing := [cell.file for cell in cells if not cell.done and not cell.error]:
            _run_job(bench.context(missing[0].job), missing, result, finish)
            gc.collect()  # a network whose hooks refer to it is a cycle, and the next one may need its memory
    result.seconds = time.perf_counter() - started
    return result


def _run_job(
    context: Context, files: Sequence[CellFile], result: RunResult, finish: Callable[[CellResult], None]
) -> None:
    """One pass over each split for all points, then the cells one by one."""
    started = time.perf_counter()
    try:
        rows, forwarded = _rows(context)
    except ProbebenchError as error:
        for file in files:
            finish(_failed(file, context, error))
        return
    extract_s = time.perf_counter() - started
    key = (context.job.backbone.title, context.job.dataset.title)
    result.forwarded[key] = forwarded
    with bar(f"probe {key[0]} on {key[1]}", total=len(files)) as shown:
        for file in files:
            finish(_run_cell(context, file, rows, forwarded, extract_s))
            shown.advance()


def _rows(context: Context) -> tuple[dict[str, Rows], int]:
    """Features of all splits, and the number of images forwarded for them."""
    request, rows, forwarded = context.request, {}, 0
    for name, split in context.splits.items():
        labels = split.labels()
        positions = torch.arange(len(labels)) if request.limit is None else limit(labels, request.limit)
        with bar(f"read {context.job.backbone.title} on {name}", total=len(positions)) as shown:
            before = 0

            def progress(done: int, _total: int) -> None:
                nonlocal before
                shown.advance(done - before)
                before = done

            extraction = extract(
                context.backbone,
                split,
                identity=context.job.backbone.identity(),
                source=context.source(name),
                index=positions,
                points=context.reading.points,
                seed=request.noise_seed,
                device=context.device,
                precision=context.precision,
                store=Store(request.store),
                progress=progress,
            )
        forwarded += extraction.forwarded
        rows[name] = Rows(name, positions, labels[positions], extraction.features)
    return rows, forwarded


def _run_cell(context: Context, file: CellFile, rows: dict[str, Rows], forwarded: int, extract_s: float) -> CellResult:
    started = time.perf_counter()
    try:
        with heard_warnings() as heard, plugin_errors(f"probe {file.probe.title} fails"):
            outcome = measure(
                cast("Probe", file.probe.build()),
                rows,
                classes=len(context.dataset.classes),
                metric=context.dataset.metric,
                seed=file.seed,
            )
    except ProbebenchError as error:
        return _failed(file, context, error)
    spent = Spent(round(extract_s, 3), forwarded, round(time.perf_counter() - started, 3))
    return CellResult(file.path(context), file.succeed(context, outcome, spent, heard), fresh=True)


def _failed(file: CellFile, context: Context | None, error: ProbebenchError) -> CellResult:
    return CellResult(file.path(None), file.fail(context, error), fresh=True)


def check_writable(folder: Path) -> None:
    """Raises an error unless files can be written to a folder, which is made if it is missing.

    Raises:
        UsageError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / ".probebench-write-test"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise UsageError(f"cannot write there: {error.strerror}", where=str(folder), hint="another folder") from error
