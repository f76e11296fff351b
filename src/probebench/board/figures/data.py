"""What figures are drawn from: the rows of a board, and the trainings that some of them are stages of."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from probebench.board.collect import groups, unfit
from probebench.board.rows import Row, rows
from probebench.records.schema import Measure
from probebench.util.hashing import canonical_json
from probebench.util.spec_text import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import Record


Distances = dict[tuple[str, str, str], tuple[Measure, ...]]
"""By title of the dataset, fingerprint of the backbone and name of the metric."""


@dataclass(frozen=True)
class Stage:
    """A training after some epochs.

    Attributes:
        epoch: Epochs finished.
        rows: One for each seed of the training.
        distances: How far what it draws is from real images, by name of the metric; one for each record.
    """

    epoch: int
    rows: tuple[Row, ...]
    distances: Mapping[str, tuple[Measure, ...]]


@dataclass(frozen=True)
class Training:
    """One recipe, by epoch.

    Attributes:
        label: What tells it from the other ones.
        stages: At least two, by epoch.
    """

    label: str
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Final:
    """A backbone, not to be seen in its development.

    Attributes:
        label: What tells it from the other ones.
        rows: One; of a training one for each of its seeds.
    """

    label: str
    rows: tuple[Row, ...]

    @property
    def value(self) -> float:
        """The primary metric on test, mean over rows."""
        return fmean(row.value for row in self.rows)

    @property
    def baseline(self) -> bool:
        """Whether it is a floor for others."""
        return self.rows[0].backbone.baseline


@dataclass(frozen=True)
class Sheet:
    """Everything that is drawn of one dataset under one protocol.

    Attributes:
        newest: The record that the edition is for.
        trainings: Recipes of which there are several epochs, by label.
        finals: Every backbone, but of the trainings the last epoch alone; contenders first.
    """

    newest: Record
    trainings: tuple[Training, ...]
    finals: tuple[Final, ...]

    @property
    def title(self) -> str:
        """Dataset and protocol."""
        return f"{self.newest.cell.dataset.title}, {self.newest.protocol.name}"

    @property
    def metric(self) -> str:
        """Name of the metric, in words."""
        return {"top1": "accuracy", "mean_per_class": "mean accuracy per class"}.get(self.newest.primary or "", "")


def sheets(entries: Sequence[LoadedRecord]) -> list[Sheet]:
    """What can be drawn of records: those that boards leave out are not.

    Args:
        entries: Records of any datasets, protocols and backbones.
    """
    distances = _distances(entries)
    found = []
    for group in groups(entries):
        # A soft vote has no point of its own in a map or a curve.
        ranked = [row for row in rows(group.kept, {}) if not row.voting]
        if not ranked or not ranked[0].primary.higher_is_better:
            continue
        ranked.sort(key=lambda row: (row.backbone.baseline, short(row), row.backbone.title, row.lowest.backbone_key))
        trainings = _trainings(ranked, distances)
        found.append(Sheet(group.newest, trainings, _finals(ranked, trainings)))
    return found


def by_tap(found: Iterable[Row]) -> dict[str, list[float]]:
    """The validation value of each tap at its best level, one for each record."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in found:
        for entry in row.entries:
            best: dict[str, float] = {}
            for point, trial in entry.record.best_trials().items():
                best[point.tap] = max(trial.value, best.get(point.tap, 0.0))
            for tap, value in best.items():
                values[tap].append(value)
    return dict(values)


def test_values(found: Iterable[Row]) -> list[Measure]:
    """The primary metric on test, one for each record."""
    return [entry.record.metrics[entry.record.primary or ""] for row in found for entry in row.entries]


def short(row: Row) -> str:
    """A title without the folders that a network of a training was read from."""
    backbone = row.backbone
    if backbone.trained is None and not backbone.baseline:
        return backbone.title
    spec = parse_spec(backbone.title)
    kept = [f"{name}={value}" for name, value in spec.options.items() if "/" not in value]
    return f"{spec.name}:{','.join(kept)}" if kept else spec.name


def _trainings(found: Sequence[Row], distances: Distances) -> tuple[Training, ...]:
    recipes: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        if trained := row.backbone.trained:
            # Read in another way, such as without noise, the same network gives another curve.
            recipes[f"{trained.recipe} {short(row)}"][trained.epoch].append(row)
    names = [short(next(iter(epochs.values()))[0]) for epochs in recipes.values() if len(epochs) > 1]
    return tuple(
        Training(
            name if names.count(name) == 1 else f"{name} #{key[:6]}",
            tuple(Stage(epoch, tuple(epochs[epoch]), _at_stage(epochs[epoch], distances)) for epoch in sorted(epochs)),
        )
        for key, epochs in recipes.items()
        if len(epochs) > 1
        for name in [short(next(iter(epochs.values()))[0])]
    )


def _finals(found: Sequence[Row], trainings: Sequence[Training]) -> tuple[Final, ...]:
    stages = [row.lowest.backbone_key for training in trainings for stage in training.stages for row in stage.rows]
    last = [
        Final(f"{training.label}, epoch {training.stages[-1].epoch}", training.stages[-1].rows)
        for training in trainings
    ]
    single, seen = [], set[str]()
    for row in found:
        # The untrained network is the same beside each of several series.
        weights = canonical_json([short(row), row.backbone.fingerprint, row.lowest.record.cell.precision])
        if row.lowest.backbone_key not in stages and not (row.backbone.baseline and weights in seen):
            single.append(row)
            seen.add(weights)
    names = Counter(map(short, single))
    others = [Final(short(row) if names[short(row)] == 1 else row.backbone.title, (row,)) for row in single]
    return tuple(sorted([*last, *others], key=lambda final: final.baseline))


def _distances(entries: Iterable[LoadedRecord]) -> Distances:
    """Measures of drawn images of which less is better, in any record of a backbone: the probe is not asked."""
    found: dict[tuple[str, str, str], list[Measure]] = defaultdict(list)
    for entry in entries:
        if entry.record.generation and not unfit(entry.record):
            for name, measure in entry.record.metrics.items():
                if not measure.higher_is_better:
                    cell = entry.record.cell
                    found[cell.dataset.title, cell.backbone.fingerprint or "", name].append(measure)
    return {key: tuple(values) for key, values in found.items()}


def _at_stage(found: Sequence[Row], distances: Distances) -> dict[str, tuple[Measure, ...]]:
    values: dict[str, tuple[Measure, ...]] = {}
    for row in found:
        for (dataset, fingerprint, name), measured in distances.items():
            if (dataset, fingerprint) == (row.lowest.record.cell.dataset.title, row.backbone.fingerprint):
                values[name] = values.get(name, ()) + measured
    return values
