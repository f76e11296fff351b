"""Builds the rows of a board: the records of one backbone, averaged over seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from probebench.records.schema import BackboneCell, Chosen  # noqa: TC001 - annotations of dataclasses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import Measure


@dataclass(frozen=True)
class Row:
    """A backbone under a protocol.

    Attributes:
        records: Its records, one for each seed, by seed.
        value: Primary metric on the test split, mean over seeds.
        low: Lower end of the 95 % interval at `value`; None when the metric has no interval.
        high: Upper end.
        sd: Standard deviation over seeds; None for one seed.
        metrics: Every metric on the test split, mean over seeds.
        chosen: The point that most seeds chose, from the record of the lowest of these seeds.
        chosen_by: Number of seeds that chose that point.
        heat: Validation value of each (tap, level), mean over seeds, in the order they were tried.
        seconds: Seconds of extraction per 1000 images; None when no record forwarded any.
    """

    records: tuple[LoadedRecord, ...]
    value: float
    low: float | None
    high: float | None
    sd: float | None
    metrics: dict[str, float]
    chosen: Chosen
    chosen_by: int
    heat: dict[tuple[str, str], float]
    seconds: float | None

    @property
    def backbone(self) -> BackboneCell:
        """The backbone, which is the same in all records."""
        return self.records[0].record.cell.backbone

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(loaded.record.cell.seed for loaded in self.records)

    @property
    def averaged_levels(self) -> tuple[str, ...]:
        """Levels whose probabilities were averaged; empty where a single point was measured."""
        return tuple(trial.level for trial in self.lowest_seed.record.soft_vote)

    @property
    def cost(self) -> float:
        """Forward passes of an image up to the tap; with averaged levels one pass for each level, so above 1."""
        return self.chosen.cost * max(1, len(self.averaged_levels))

    @property
    def lowest_seed(self) -> LoadedRecord:
        """The record of the lowest seed, which the board links to."""
        return self.records[0]

    @property
    def primary(self) -> Measure:
        """The primary metric in the record of the lowest seed."""
        record = self.lowest_seed.record
        return record.metrics[record.primary or ""]


def rows(records: Iterable[LoadedRecord], speeds: dict[str, float]) -> list[Row]:
    """Builds one row for each backbone among the records of one board.

    Args:
        records: Finished records of one edition, no two of the same backbone and seed.
        speeds: From `speeds`.
    """
    members: dict[str, list[LoadedRecord]] = defaultdict(list)
    for loaded in records:
        members[loaded.backbone_key].append(loaded)
    return [_row(sorted(group, key=lambda loaded: loaded.record.cell.seed), speeds) for group in members.values()]


def speeds(records: Iterable[LoadedRecord]) -> dict[str, float]:
    """Computes the seconds of extraction per 1000 images, by backbone.

    Features are stored and shared, so the record that measured their extraction may belong to another probe.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    images: Counter[str] = Counter()
    for loaded in records:
        timing = loaded.record.timing
        if timing is not None and timing.forwarded and not loaded.record.generation:
            seconds[loaded.speed_key] += timing.extract_s
            images[loaded.speed_key] += timing.forwarded
    return {key: 1000 * seconds[key] / images[key] for key in images}


def mean_interval(measures: Sequence[Measure]) -> tuple[float, float] | None:
    """Computes the 95 % interval at the mean of a metric over seeds; None where the metric has no interval.

    Args:
        measures: One for each seed, of the same number of test images.
    """
    from probebench.stats.intervals import accuracy_interval

    if any(measure.low is None for measure in measures):
        return None
    n = measures[0].n
    return accuracy_interval(min(fmean(measure.value for measure in measures) * n, n), n)


def _row(loaded_records: Sequence[LoadedRecord], speeds: dict[str, float]) -> Row:
    records = [loaded.record for loaded in loaded_records]
    primary = records[0].primary or ""
    values = [record.metrics[primary].value for record in records]
    shared = [name for name in records[0].metrics if all(name in record.metrics for record in records)]
    chosen, chosen_by = _most_chosen([record.chosen for record in records if record.chosen is not None])
    low, high = mean_interval([record.metrics[primary] for record in records]) or (None, None)
    return Row(
        records=tuple(loaded_records),
        value=fmean(values),
        low=low,
        high=high,
        sd=stdev(values) if len(values) > 1 else None,
        metrics={name: fmean(record.metrics[name].value for record in records) for name in shared},
        chosen=chosen,
        chosen_by=chosen_by,
        heat=_heat(loaded_records),
        seconds=speeds.get(loaded_records[0].speed_key),
    )


def _most_chosen(chosen: Sequence[Chosen]) -> tuple[Chosen, int]:
    """Returns the point that most seeds chose; of equally frequent points that of the lowest seed."""
    [(point, count)] = Counter(one.point for one in chosen).most_common(1)
    return next(one for one in chosen if one.point == point), count


def _heat(loaded_records: Sequence[LoadedRecord]) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for loaded in loaded_records:
        for point, trial in loaded.record.best_trials().items():
            values[point.tap, point.level].append(trial.value)
    return {tap_and_level: fmean(per_seed) for tap_and_level, per_seed in values.items()}
