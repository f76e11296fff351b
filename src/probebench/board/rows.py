"""One row of a board: a backbone's records, taken together over seeds."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from probebench.records.files import BackboneCell, Chosen  # noqa: TC001 - annotations of dataclasses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from probebench.board.collect import LoadedRecord
    from probebench.records.files import Measure


@dataclass(frozen=True)
class Row:
    """A backbone under a protocol.

    Attributes:
        entries: Its records, one a seed, by seed.
        value: Primary metric on the test split, mean over seeds.
        low: Lower end of the 95 % interval at `value`; None when the metric has no interval.
        high: Upper end.
        sd: Standard deviation over seeds; None for one seed.
        metrics: Every metric on the test split, mean over seeds.
        chosen: The point most seeds chose, in the record of the lowest of them.
        votes: How many seeds chose that point.
        heat: Validation value of each (tap, level), mean over seeds, in the order they were tried.
        seconds: Seconds of extraction per 1000 images; None when no record forwarded any.
    """

    entries: tuple[LoadedRecord, ...]
    value: float
    low: float | None
    high: float | None
    sd: float | None
    metrics: dict[str, float]
    chosen: Chosen
    votes: int
    heat: dict[tuple[str, str], float]
    seconds: float | None

    @property
    def backbone(self) -> BackboneCell:
        """The backbone; equal in all records."""
        return self.entries[0].record.cell.backbone

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, ascending."""
        return tuple(entry.record.cell.seed for entry in self.entries)

    @property
    def voting(self) -> tuple[str, ...]:
        """Levels whose probabilities were averaged; empty where a single point was measured."""
        return tuple(trial.level for trial in self.lowest.record.soft_vote)

    @property
    def cost(self) -> float:
        """Forward passes that an image takes up to the tap; above 1 where levels vote, which each take theirs."""
        return self.chosen.cost * max(1, len(self.voting))

    @property
    def lowest(self) -> LoadedRecord:
        """The record that the row links to."""
        return self.entries[0]

    @property
    def primary(self) -> Measure:
        """The primary metric in the record of the lowest seed."""
        record = self.lowest.record
        return record.metrics[record.primary or ""]


def rows(entries: Iterable[LoadedRecord], speeds: dict[str, float]) -> list[Row]:
    """One row for each backbone among records of one board.

    Args:
        entries: Finished records of one edition, no two of the same backbone and seed.
        speeds: From `speeds`.
    """
    members: dict[str, list[LoadedRecord]] = defaultdict(list)
    for entry in entries:
        members[entry.backbone_key].append(entry)
    return [_row(sorted(found, key=lambda entry: entry.record.cell.seed), speeds) for found in members.values()]


def speeds(entries: Iterable[LoadedRecord]) -> dict[str, float]:
    """Seconds of extraction per 1000 images, by backbone.

    Features are stored and shared, so the record that paid for them may be one of another probe's.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    images: Counter[str] = Counter()
    for entry in entries:
        timing = entry.record.timing
        if timing is not None and timing.forwarded and not entry.record.generation:
            seconds[entry.speed_key] += timing.extract_s
            images[entry.speed_key] += timing.forwarded
    return {key: 1000 * seconds[key] / images[key] for key in images}


def _row(entries: Sequence[LoadedRecord], speeds: dict[str, float]) -> Row:
    records = [entry.record for entry in entries]
    primary = records[0].primary or ""
    values = [record.metrics[primary].value for record in records]
    shared = [name for name in records[0].metrics if all(name in record.metrics for record in records)]
    chosen, votes = _most_chosen([record.chosen for record in records if record.chosen is not None])
    low, high = mean_interval([record.metrics[primary] for record in records]) or (None, None)
    return Row(
        entries=tuple(entries),
        value=fmean(values),
        low=low,
        high=high,
        sd=stdev(values) if len(values) > 1 else None,
        metrics={name: fmean(record.metrics[name].value for record in records) for name in shared},
        chosen=chosen,
        votes=votes,
        heat=_heat(entries),
        seconds=speeds.get(entries[0].speed_key),
    )


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


def _most_chosen(chosen: Sequence[Chosen]) -> tuple[Chosen, int]:
    """The point that most seeds chose; of equally frequent ones that of the lowest seed."""
    [(point, votes)] = Counter(one.point for one in chosen).most_common(1)
    return next(one for one in chosen if one.point == point), votes


def _heat(entries: Sequence[LoadedRecord]) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for entry in entries:
        for point, trial in entry.record.best_trials().items():
            values[point.tap, point.level].append(trial.value)
    return {place: fmean(found) for place, found in values.items()}
