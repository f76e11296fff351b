"""A study: trainings, then runs, then boards and figures. Each step goes on where it was, or has nothing to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from probebench.board import files as boards
from probebench.board.figures import files as figures
from probebench.harness import runner, training
from probebench.planning import jobs
from probebench.plugins.registry import installed, resolve
from probebench.util.defaults import DEFAULT_DATASET
from probebench.util.errors import UsageError
from probebench.util.files import make_writable
from probebench.util.spec_text import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from probebench.harness.training import TrainingResult
    from probebench.planning.request import Request
    from probebench.plugins.registry import Registry


_Cell = TypeVar("_Cell")


@dataclass(frozen=True)
class PlannedTraining:
    """A training that a study begins with; the options of ``probebench train``.

    Attributes:
        backbone: Spec.
        epochs: In all.
        out: Folder of the run.
        dataset: Spec.
        split: ``train``, or a split without labels.
        recipe: Options of the training, as in a spec.
        seed: Of everything random in it.
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
    """What is to be done.

    Attributes:
        requests: The runs, one or more, which share the folder of their records.
        trainings: What comes before them.
        boards: Folder of the boards; None for none.
        plots: Folder of the figures; None for none.
    """

    requests: tuple[Request, ...]
    trainings: tuple[PlannedTraining, ...] = ()
    boards: Path | None = None
    plots: Path | None = None

    @property
    def results(self) -> Path:
        """Folder of the records."""
        return self.requests[0].results


def check(study: Study, registry: Registry | None = None) -> None:
    """Finds what is wrong before hours of training, as far as it can be known by then.

    Raises:
        UsageError: A name, option or value is wrong, two trainings share a folder, or figures cannot be drawn.
        PluginError: A component is there and cannot be used.
    """
    registry = registry or installed()
    if study.plots:
        figures.require_matplotlib()
    for number, one in enumerate(study.trainings, start=1):
        training.check_job(resolve("backbone", one.backbone, registry), one.settings, one.epochs)
        resolve("dataset", one.dataset, registry)
        if one.out in [other.out for other in study.trainings[: number - 1]]:
            raise UsageError("two trainings share a folder", where=f"out = {str(one.out)!r} of [[train]] {number}")
    if study.trainings:
        for request in study.requests:
            jobs.check(request, registry)


def train(
    study: Study, heard: Callable[[int], None], registry: Registry | None = None
) -> Iterator[tuple[PlannedTraining, TrainingResult]]:
    """Does the trainings, and yields each when it ends; one that was stopped before its end is the last.

    Args:
        study: What is to be done.
        heard: Called with the number of the signal that asks to stop.
        registry: Where components are looked up; by default what is installed.

    Raises:
        UsageError: As `probebench.harness.training.train`; or the records could not be written afterwards.
        PluginError: Dataset or trainer fails.
        TrainingError: A training cannot start or go on.
    """
    if study.trainings:
        make_writable(study.results, "--results")
    for one in study.trainings:
        ended = training.train(
            resolve("backbone", one.backbone, registry),
            resolve("dataset", one.dataset, registry),
            split=one.split,
            recipe=one.settings,
            epochs=one.epochs,
            out=one.out,
            seed=one.seed,
            device=one.device,
            precision=one.precision,
            heard=heard,
        )
        yield one, ended
        if ended.stopped_at:
            return


def planned(study: Study, registry: Registry | None = None) -> list[runner.PlannedCell]:
    """The cells of all runs, each once; nothing is forwarded or written.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: A component is there and cannot be used.
    """
    groups = (group for request in study.requests for group in runner.plan(request, registry=registry))
    return _once((cell for group in groups for cell in group), lambda cell: cell.path)


def run(study: Study, argv: Sequence[str] = (), registry: Registry | None = None) -> runner.RunResult:
    """Does the runs, one after the other.

    Args:
        study: What is to be done.
        argv: The command, for the records.
        registry: Where components are looked up; by default what is installed.

    Raises:
        UsageError: A name, option or value of any run is wrong: found before the first.
        PluginError: A component is there and cannot be used.
        StoreError: The store is a file.
        RecordError: A record cannot be written. What was written before stays.
    """
    for request in study.requests:
        jobs.jobs(request, registry)
    outcomes = [runner.run(request, argv=argv, registry=registry) for request in study.requests]
    forwarded: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        forwarded.update(outcome.forwarded)
    return runner.RunResult(
        cells=_once((cell for outcome in outcomes for cell in outcome.cells), lambda cell: cell.path),
        forwarded=dict(forwarded),
        seconds=sum(outcome.seconds for outcome in outcomes),
    )


def _once(cells: Iterable[_Cell], path: Callable[[_Cell], Path | None]) -> list[_Cell]:
    """Runs may share cells, such as their baselines: each is told of once, as the first run found it."""
    found: dict[object, _Cell] = {}
    for cell in cells:
        found.setdefault(path(cell) or id(cell), cell)
    return list(found.values())


def report(study: Study) -> list[Path]:
    """Builds boards and figures of all records in the study's folder.

    Returns:
        The files that were written or removed.

    Raises:
        UsageError: Nothing can be drawn, or a file cannot be written.
        RecordError: A record is not valid.
    """
    changed: list[Path] = []
    if study.boards:
        changed += boards.write(boards.outputs(study.results, study.boards), study.boards)
    if study.plots:
        changed += figures.write(figures.outputs(study.results, study.plots))
    return changed
