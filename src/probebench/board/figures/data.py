"""Groups the rows of a board for its figures: training curves, and one entry for each backbone."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from probebench.board.collect import board_records, unusable
from probebench.board.rows import Row, rows
from probebench.records.schema import Measure
from probebench.util.hashing import canonical_json
from probebench.util.spec_text import parse_spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import Record


GenerationMeasures = dict[tuple[str, str, str], tuple[Measure, ...]]
"""By title of the dataset, fingerprint of the backbone and name of the metric."""


@dataclass(frozen=True)
class CurvePoint:
    """The networks of one recipe after some epochs.

    Attributes:
        epoch: Number of finished epochs.
        rows: One for each seed of the training.
        generation: Metrics of generated images by name, one measure for each record; lower is better.
    """

    epoch: int
    rows: tuple[Row, ...]
    generation: Mapping[str, tuple[Measure, ...]]


@dataclass(frozen=True)
class TrainingCurve:
    """The networks of one recipe, by epoch.

    Attributes:
        label: Unique name.
        points: At least two, by epoch.
    """

    label: str
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class FinalBackbone:
    """A backbone; of a training curve the networks of the last epoch.

    Attributes:
        label: Unique name.
        rows: One row; of a training curve one for each seed of the training.
    """

    label: str
    rows: tuple[Row, ...]

    @property
    def value(self) -> float:
        """The primary metric on test, mean over rows."""
        return fmean(row.value for row in self.rows)

    @property
    def baseline(self) -> bool:
        """Whether the backbone is a baseline."""
        return self.rows[0].backbone.baseline


@dataclass(frozen=True)
class FigureData:
    """The data of all figures of one dataset under one protocol.

    Attributes:
        newest: The newest usable record; the figures are for its protocol, dataset and test images.
        curves: Recipes with several epochs, by label.
        backbones: Every backbone, of the curves only the last epoch; baselines last.
    """

    newest: Record
    curves: tuple[TrainingCurve, ...]
    backbones: tuple[FinalBackbone, ...]

    @property
    def title(self) -> str:
        """Dataset and protocol."""
        return f"{self.newest.cell.dataset.title}, {self.newest.protocol.name}"

    @property
    def metric(self) -> str:
        """Name of the primary metric, in words."""
        return {"top1": "accuracy", "mean_per_class": "mean accuracy per class"}.get(self.newest.primary or "", "")


def figure_data(records: Sequence[LoadedRecord]) -> list[FigureData]:
    """Groups records by dataset and protocol; those that boards leave out are left out here as well.

    Args:
        records: Records of any datasets, protocols and backbones.
    """
    generation = _generation_measures(records)
    found = []
    for group in board_records(records):
        # A row with averaged levels has no single point in a heat map or a curve.
        ranked = [row for row in rows(group.kept, {}) if not row.averaged_levels]
        if not ranked or not ranked[0].primary.higher_is_better:
            continue
        ranked.sort(
            key=lambda row: (
                row.backbone.baseline,
                short_title(row),
                row.backbone.title,
                row.lowest_seed.backbone_key,
            )
        )
        curves = _curves(ranked, generation)
        found.append(FigureData(group.newest, curves, _final_backbones(ranked, curves)))
    return found


def by_tap(found: Iterable[Row]) -> dict[str, list[float]]:
    """Returns the validation values of each tap at its best level, one for each record."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in found:
        for loaded in row.records:
            best: dict[str, float] = {}
            for point, trial in loaded.record.best_trials().items():
                best[point.tap] = max(trial.value, best.get(point.tap, 0.0))
            for tap, value in best.items():
                values[tap].append(value)
    return dict(values)


def measures_on_test(found: Iterable[Row]) -> list[Measure]:
    """Returns the primary metric on test, one measure for each record."""
    return [loaded.record.metrics[loaded.record.primary or ""] for row in found for loaded in row.records]


def short_title(row: Row) -> str:
    """Returns a backbone's title; of a trained network or a baseline without options that name a path."""
    backbone = row.backbone
    if backbone.trained is None and not backbone.baseline:
        return backbone.title
    spec = parse_spec(backbone.title)
    kept = [f"{name}={value}" for name, value in spec.options.items() if "/" not in value]
    return f"{spec.name}:{','.join(kept)}" if kept else spec.name


def _curves(found: Sequence[Row], generation: GenerationMeasures) -> tuple[TrainingCurve, ...]:
    recipes: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in found:
        if trained := row.backbone.trained:
            # With other options, such as without noise, the same network gives another curve.
            recipes[f"{trained.recipe} {short_title(row)}"][trained.epoch].append(row)
    names = [short_title(next(iter(epochs.values()))[0]) for epochs in recipes.values() if len(epochs) > 1]
    return tuple(
        TrainingCurve(
            name if names.count(name) == 1 else f"{name} #{key[:6]}",
            tuple(
                CurvePoint(epoch, tuple(epochs[epoch]), _measures_of(epochs[epoch], generation))
                for epoch in sorted(epochs)
            ),
        )
        for key, epochs in recipes.items()
        if len(epochs) > 1
        for name in [short_title(next(iter(epochs.values()))[0])]
    )


def _final_backbones(found: Sequence[Row], curves: Sequence[TrainingCurve]) -> tuple[FinalBackbone, ...]:
    on_curves = [row.lowest_seed.backbone_key for curve in curves for point in curve.points for row in point.rows]
    last = [FinalBackbone(f"{curve.label}, epoch {curve.points[-1].epoch}", curve.points[-1].rows) for curve in curves]
    single, seen = [], set[str]()
    for row in found:
        # Several series have the same untrained network as a baseline: it is shown once.
        weights = canonical_json([short_title(row), row.backbone.fingerprint, row.lowest_seed.record.cell.precision])
        if row.lowest_seed.backbone_key not in on_curves and not (row.backbone.baseline and weights in seen):
            single.append(row)
            seen.add(weights)
    counts = Counter(map(short_title, single))
    others = [
        FinalBackbone(short_title(row) if counts[short_title(row)] == 1 else row.backbone.title, (row,))
        for row in single
    ]
    return tuple(sorted([*last, *others], key=lambda backbone: backbone.baseline))


def _generation_measures(records: Iterable[LoadedRecord]) -> GenerationMeasures:
    """Returns the metrics of generated images where lower is better; the board's probe plays no part."""
    found: dict[tuple[str, str, str], list[Measure]] = defaultdict(list)
    for loaded in records:
        if loaded.record.generation and not unusable(loaded.record):
            for name, measure in loaded.record.metrics.items():
                if not measure.higher_is_better:
                    cell = loaded.record.cell
                    found[cell.dataset.title, cell.backbone.fingerprint or "", name].append(measure)
    return {key: tuple(values) for key, values in found.items()}


def _measures_of(found: Sequence[Row], generation: GenerationMeasures) -> dict[str, tuple[Measure, ...]]:
    values: dict[str, tuple[Measure, ...]] = {}
    for row in found:
        for (dataset, fingerprint, name), measures in generation.items():
            if (dataset, fingerprint) == (row.lowest_seed.record.cell.dataset.title, row.backbone.fingerprint):
                values[name] = values.get(name, ()) + measures
    return values
