"""A study: trainings, then runs, then boards and figures. Each step resumes, or has nothing to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from probebench.board.figures import files as figures
from probebench.harness import runner, training
from probebench.planning import jobs
from probebench.planning.request import Request
from probebench.plugins.registry import resolve
from probebench.util.defaults import DEFAULT_DATASET
from probebench.util.errors import UsageError
from probebench.util.files import make_writable
from probebench.util.spec_text import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from probebench.harness.cells import PlannedCell
    from probebench.harness.training import TrainingResult


_Cell = TypeVar("_Cell")


@dataclass(frozen=True)
class PlannedTraining:
    """A training of a study, with the options of ``probebench train``.

    Attributes:
        backbone: Spec.
        epochs: Total number.
        out: Folder of the run.
        dataset: Spec.
        split: ``train``, or a split without labels.
        recipe: Options of the training, as in a spec.
        seed: Seed of everything random in it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
    """

    backbone: str
    epochs: int
    out: Path
    dataset: str = DEFAULT_DATASET
    split: str = "train"
    recipe: str = ""
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    @property
    def settings(self) -> dict[str, str]:
        """Options of the training, by name."""
        return dict(parse_spec(f"recipe:{self.recipe}").options) if self.recipe else {}


@dataclass(frozen=True)
class Study:
    """Trainings, then runs, then boards and figures.

    Attributes:
        requests: The runs, one or more, which share the folders of records, boards and figures.
        trainings: The trainings before them.
    """

    requests: tuple[Request, ...] = (Request(),)
    trainings: tuple[PlannedTraining, ...] = ()

    @property
    def results(self) -> Path:
        """Folder of the records."""
        return self.requests[0].results

    @property
    def boards(self) -> Path | None:
        """Folder of the boards; None for none."""
        return self.requests[0].boards

    @property
    def plots(self) -> Path | None:
        """Folder of the figures; None for none."""
        return self.requests[0].plots


def check(study: Study) -> None:
    """Finds errors before hours of training, as far as possible.

    Raises:
        UsageError: A name, option or value is wrong, two trainings share a folder, or figures cannot be plotted.
        PluginError: A component is installed and cannot be used.
    """
    if study.plots:
        figures.require_matplotlib()
    for number, one in enumerate(study.trainings, start=1):
        training.check_job(resolve("backbone", one.backbone), one.settings, one.epochs)
        resolve("dataset", one.dataset)
        if one.out in [other.out for other in study.trainings[: number - 1]]:
            raise UsageError(
                "two trainings have the same folder",
                where=f"out = {str(one.out)!r} of [[train]] {number}",
                hint="give each [[train]] another out",
            )
    if study.trainings:
        for request in study.requests:
            jobs.check(request)


def train(study: Study, on_signal: Callable[[int], None]) -> Iterator[tuple[PlannedTraining, TrainingResult]]:
    """Runs the trainings, and yields each when it ends; one that was stopped early is the last.

    Args:
        study: The study.
        on_signal: Called with the number of the signal that stops a training.

    Raises:
        UsageError: As `probebench.harness.training.train`; or the records could not be written afterwards.
        PluginError: Dataset or trainer fails.
        TrainingError: A training cannot start or resume.
    """
    if study.trainings:
        make_writable(study.results, "--results")
    for one in study.trainings:
        ended = training.train(
            resolve("backbone", one.backbone),
            resolve("dataset", one.dataset),
            split=one.split,
            recipe=one.settings,
            epochs=one.epochs,
            out=one.out,
            seed=one.seed,
            device=one.device,
            precision=one.precision,
            on_signal=on_signal,
        )
        yield one, ended
        if ended.stopped_at:
            return


def planned(study: Study) -> list[PlannedCell]:
    """Lists the cells of all runs, each once; nothing is forwarded or written.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is installed and cannot be used.
    """
    groups = (
        group
        for request in study.requests
        for group in runner.plan(jobs.jobs(request), results=request.results, store=request.store)
    )
    return _once((cell for group in groups for cell in group), lambda cell: None if cell.error else cell.file.path)


def run(study: Study, argv: Sequence[str] = ()) -> runner.RunResult:
    """Carries out the runs, one after the other.

    Args:
        study: The study.
        argv: The command, for the records.

    Raises:
        UsageError: A name, option or value of any run is wrong: found before the first run.
        PluginError: A component is installed and cannot be used.
        StoreError: The store is a file.
        RecordError: A record cannot be written. Records that were written before stay.
    """
    resolved = [(request, jobs.jobs(request)) for request in study.requests]
    outcomes = [
        runner.run(listed, results=request.results, store=request.store, argv=argv) for request, listed in resolved
    ]
    forwarded: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        forwarded.update(outcome.forwarded)
    return runner.RunResult(
        cells=_once((cell for outcome in outcomes for cell in outcome.cells), lambda cell: cell.path),
        forwarded=dict(forwarded),
        seconds=sum(outcome.seconds for outcome in outcomes),
    )


def _once(cells: Iterable[_Cell], path: Callable[[_Cell], Path | None]) -> list[_Cell]:
    """Returns each cell once, as the first run lists it: runs may share cells, such as their baselines."""
    found: dict[object, _Cell] = {}
    for cell in cells:
        found.setdefault(path(cell) or id(cell), cell)
    return list(found.values())


def report(study: Study) -> list[Path]:
    """Builds boards and figures from all records in the study's folder.

    Returns:
        The files that were written or removed.

    Raises:
        UsageError: Nothing can be plotted, or a file cannot be written.
        RecordError: A record is not valid.
    """
    changed: list[Path] = []
    if study.boards:
        from probebench.board import files as boards

        changed += boards.write(boards.outputs(study.results, study.boards), study.boards)
    if study.plots:
        changed += figures.write(figures.outputs(study.results, study.plots))
    return changed
