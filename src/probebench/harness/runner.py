"""`probebench run`: the plan is carried out, one pass of each backbone over each split, one record for each cell."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from probebench.api import ProbebenchError, UsageError
from probebench.extraction.context import Context, SampleContext, Workbench, collect_warnings
from probebench.extraction.split_pass import read_split, read_views
from probebench.extraction.views import in_turns
from probebench.generation import measure as generation_measures
from probebench.harness import generation_record
from probebench.harness.cell_record import CellFile, Spent
from probebench.planning.jobs import jobs
from probebench.plugins.isolation import plugin_errors
from probebench.probing import finetune
from probebench.probing.cell import measure
from probebench.probing.data import Rows
from probebench.store.features import Store
from probebench.util.errors import RecordError
from probebench.util.files import make_writable
from probebench.util.progress import bar, track

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from probebench.api import FinetuningProbe, Probe
    from probebench.extraction.context import Built
    from probebench.planning.jobs import Job
    from probebench.planning.request import Request
    from probebench.plugins.registry import Registry
    from probebench.probing.cell import Outcome
    from probebench.records.schema import Record


@dataclass(frozen=True)
class CellResult:
    """A cell after the run.

    Attributes:
        path: File of its record.
        record: What it says.
        fresh: Whether it was made by this run; otherwise it was there.
        error: What the record of a failed cell tells of, with its traceback.
    """

    path: Path
    record: Record
    fresh: bool
    error: ProbebenchError | None = None


@dataclass
class RunResult:
    """What a run did.

    Attributes:
        cells: In the order of the plan.
        forwarded: Images that passed a backbone or were drawn from it, by titles of backbone and dataset.
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
        path: Of its record; None when backbone or dataset could not be built.
        points: How many points are read; None where there is no path, and of a measure of drawn images, which reads
            none of the backbone.
        done: Its record, if it is there.
        error: Why nothing could be built.
    """

    file: CellFile
    path: Path | None
    points: int | None
    done: CellResult | None
    error: ProbebenchError | None = None


def plan(request: Request, *, registry: Registry | None = None) -> list[list[PlannedCell]]:
    """The cells of a request, grouped by the features they share, and which of them are done.

    Backbones and datasets are built, since a record is known by their fingerprints; nothing is forwarded or written.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    bench = Workbench(request)
    return [_planned(job, bench, ()) for job in jobs(request, registry)]


def _planned(job: Job, bench: Workbench, argv: tuple[str, ...]) -> list[PlannedCell]:
    files = [CellFile(job, ruled, seed, argv) for ruled, seed in job.cells]
    try:
        context = bench.context(job)
    except UsageError:
        raise
    except ProbebenchError as error:
        return [PlannedCell(file, None, None, None, error) for file in files]
    cells = []
    for file in files:
        record = file.finished(context)
        path = file.path(context)
        done = CellResult(path, record, fresh=False) if record else None
        points = len(context.reading.points) if isinstance(context, Context) else None
        cells.append(PlannedCell(file, path, points, done))
    return cells


def run(request: Request, *, argv: Sequence[str] = (), registry: Registry | None = None) -> RunResult:
    """Runs all cells that have no record yet.

    A cell that fails leaves a record that says why, and the others run.

    Args:
        request: What to run.
        argv: The command, for the records.
        registry: Where components are looked up; by default what is installed.

    Raises:
        UsageError: A name, option or value is wrong, or a folder cannot be written: found before any work.
        PluginError: A component is there and cannot be used.
        StoreError: The store is a file.
        RecordError: A record cannot be written. What was written before stays.
    """
    started = time.perf_counter()
    bench, todo = Workbench(request), jobs(request, registry)
    make_writable(request.results, "--results")
    store = Store(request.store)
    groups = [_planned(job, bench, tuple(argv)) for job in track(todo, "look for what is done")]
    result = RunResult()
    for cells in groups:
        missing = [cell.file for cell in cells if not cell.done]
        if error := cells[0].error:
            fresh = [_failed(file, None, error) for file in missing]
        else:
            fresh = _run_job(cells[0].file.job, missing, bench, store, result.forwarded) if missing else []
        made = iter(fresh)
        result.cells += [cell.done or next(made) for cell in cells]
        gc.collect()  # a network whose hooks refer to it is a cycle, and the next one may need its memory
    result.seconds = time.perf_counter() - started
    return result


def _run_job(
    job: Job, files: Sequence[CellFile], bench: Workbench, store: Store, forwarded: dict[tuple[str, str], int]
) -> list[CellResult]:
    """One pass over each split for all points, then the cells one by one."""
    started, context = time.perf_counter(), None
    try:
        with collect_warnings() as heard:
            context = bench.context(job)
            if isinstance(context, SampleContext):
                return _run_measures(context, files, store, forwarded)
            if job.tunes:
                return _run_tunings(context, files)
            passes = {name: read_split(context, name, store) for name in context.splits}
            views = read_views(context, passes["train"][0], store)
    except ProbebenchError as error:
        return [_failed(file, context, error) for file in files]
    extractions = [*(extraction for _, extraction in passes.values()), *views]
    images = sum(extraction.forwarded for extraction in extractions)
    extract_s = round(time.perf_counter() - started, 3) if images else 0.0
    rows = {
        name: Rows(name, positions, context.labels[name][positions], extraction.features, context.reading.shapes)
        for name, (positions, extraction) in passes.items()
    }
    trained_on = in_turns(context.job.views, passes["train"][1], views)
    rows["train"] = replace(rows["train"], views=tuple(extraction.features for extraction in trained_on))
    results = []
    with bar(f"probe {job.backbone.title} on {job.dataset.title}", total=len(files)) as shown:
        for file in files:
            work = partial(
                measure,
                rows=rows,
                classes=len(context.dataset.classes),
                metric=context.dataset.metric,
                seed=file.seed,
                optimism=file.request.optimism,
                soft_vote=context.soft_vote,
            )
            results.append(_run_cell(context, file, work, Spent(extract_s, images, 0.0), heard))
            shown.advance()
    # Counted at the end: a shard that broke in the meantime was forwarded again.
    _count(context, sum(extraction.forwarded for extraction in extractions), forwarded)
    return results


def _run_tunings(context: Context, files: Sequence[CellFile]) -> list[CellResult]:
    """The cells that train the backbone, one by one. Nothing of it is stored: each training gives another network."""
    results = []
    with bar(f"tune {context.job.backbone.title} on {context.job.dataset.title}", total=len(files)) as shown:
        for file in files:
            work = partial(finetune.measure, context, seed=file.seed)
            results.append(_run_cell(context, file, work, Spent(0.0, 0, 0.0), ()))
            shown.advance()
    return results


def _run_measures(
    context: SampleContext, files: Sequence[CellFile], store: Store, forwarded: dict[tuple[str, str], int]
) -> list[CellResult]:
    """The cells of generation one by one; what one has drawn is there for the next."""
    results = []
    for file in files:
        what = f"{file.probe.title} of {context.job.backbone.title}"
        try:
            with collect_warnings() as heard, plugin_errors(f"{what} fails"):
                outcome = generation_measures.measure(context, file.ruled, store, seed=file.seed)
            _count(context, outcome.made, forwarded)
            record = generation_record.succeed(file, context, outcome, heard)
        except RecordError:
            raise  # that of a failure could not be written either
        except ProbebenchError as error:
            results.append(_failed(file, context, error))
        else:
            results.append(CellResult(file.path(context), record, fresh=True))
    return results


def _count(context: Built, images: int, forwarded: dict[tuple[str, str], int]) -> None:
    key = context.job.backbone.title, context.job.dataset.title
    forwarded[key] = forwarded.get(key, 0) + images


def _run_cell(
    context: Context, file: CellFile, work: Callable[[Any], Outcome], spent: Spent, heard_before: Sequence[str]
) -> CellResult:
    """Builds and places a cell's probe, does the work with it, and writes what came of it."""
    started = time.perf_counter()
    try:
        with collect_warnings() as heard, plugin_errors(f"probe {file.probe.title} fails"):
            probe = cast("Probe | FinetuningProbe", file.probe.build())
            probe.move_to(context.device, context.precision)
            outcome = work(probe)
        spent = replace(spent, probe_s=round(time.perf_counter() - started, 3))
        with plugin_errors(f"what {file.probe.title} or {context.job.backbone.title} gave does not fit in a record"):
            record = file.succeed(context, outcome, spent, (*heard_before, *heard))
    except RecordError:
        raise  # that of a failure could not be written either
    except ProbebenchError as error:
        return _failed(file, context, error)
    return CellResult(file.path(context), record, fresh=True)


def _failed(file: CellFile, context: Built | None, error: ProbebenchError) -> CellResult:
    return CellResult(file.path(None), file.fail(context, error), fresh=True, error=error)
