"""Metrics of generated images: rows by dataset and protocol, for a separate page and for a column of the boards.

The name of a metric states the number of images, the reference and the extractor; the protocol states everything else.
So the values within one table are comparable, and nothing is ranked across tables.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from probebench.board.collect import Excluded, unusable
from probebench.util.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import DatasetCell, Record


@dataclass(frozen=True)
class GenerationValue:
    """A metric of generated images, mean over seeds.

    Attributes:
        value: The mean.
        real_images: The same metric of as many real images; None where there are not enough.
        sd: Standard deviation over seeds; None for one seed.
        higher_is_better: Whether a larger value is better.
    """

    value: float
    real_images: float | None
    sd: float | None
    higher_is_better: bool


@dataclass(frozen=True)
class GenerationRow:
    """One network under one protocol.

    Attributes:
        records: Its records, one for each seed, by seed.
        values: By metric; the first is the primary one.
    """

    records: tuple[LoadedRecord, ...]
    values: Mapping[str, GenerationValue]

    @property
    def lowest_seed(self) -> LoadedRecord:
        """The record of the lowest seed, which the page links to."""
        return self.records[0]

    @property
    def primary(self) -> GenerationValue:
        """The value that rows are sorted by."""
        return self.values[self.lowest_seed.record.primary or ""]


@dataclass(frozen=True)
class GenerationTable:
    """The rows of one dataset and protocol, best first.

    Attributes:
        newest: The newest usable record; the table is for its protocol, dataset, reference and extractor.
        rows: Of that edition.
        excluded: Records left out, with the reason.
    """

    newest: Record
    rows: tuple[GenerationRow, ...]
    excluded: tuple[Excluded, ...]


def generation_tables(records: Iterable[LoadedRecord]) -> dict[str, tuple[GenerationTable, ...]]:
    """Builds the tables of some records, by dataset (see `dataset_key`). Records of features are ignored."""
    members: dict[str, dict[str, list[LoadedRecord]]] = defaultdict(lambda: defaultdict(list))
    for loaded in records:
        if loaded.record.generation:
            members[dataset_key(loaded.record.cell.dataset)][loaded.record.protocol.name].append(loaded)
    return {key: tuple(_table(group[name]) for name in sorted(group)) for key, group in sorted(members.items())}


def dataset_key(dataset: DatasetCell) -> str:
    """Returns a key that is equal for the records of one dataset."""
    return canonical_json([dataset.name, dataset.options])


def _table(records: Sequence[LoadedRecord]) -> GenerationTable:
    excluded = [Excluded(loaded, reason) for loaded in records if (reason := unusable(loaded.record))]
    usable = [loaded for loaded in records if not unusable(loaded.record)]
    newest = max(usable or records, key=lambda loaded: loaded.age_key).record
    kept: dict[str, dict[int, LoadedRecord]] = defaultdict(dict)
    for loaded in sorted(usable, key=lambda loaded: loaded.age_key, reverse=True):
        reason = _stale(loaded.record, newest)
        by_seed = kept[loaded.backbone_key] if not reason else {}
        if not reason and (newer := by_seed.get(loaded.record.cell.seed)):
            reason = f"superseded by a newer record of the same cell, {newer.path.name}"
        if reason:
            excluded.append(Excluded(loaded, reason))
        else:
            by_seed[loaded.record.cell.seed] = loaded
    rows = [_row([by_seed[seed] for seed in sorted(by_seed)]) for by_seed in kept.values()]
    excluded.sort(key=lambda one: (one.loaded.record.cell.backbone.title, one.loaded.path.as_posix()))
    return GenerationTable(newest, tuple(sorted(rows, key=_order)), tuple(excluded))


def _stale(record: Record, newest: Record) -> str:
    """Returns why a record does not belong to the table's edition; empty if it does."""
    if record.protocol.hash != newest.protocol.hash:
        return f"stale: protocol {record.protocol.hash[:8]}"
    if record.cell.dataset.fingerprints != newest.cell.dataset.fingerprints or record.parts != newest.parts:
        return "stale: compared with other real images"
    if record.samples and newest.samples and record.samples.extractor != newest.samples.extractor:
        return "stale: measured with another extractor"
    return ""


def _row(records: Sequence[LoadedRecord]) -> GenerationRow:
    values = {}
    for name, first in records[0].record.metrics.items():
        per_seed = [loaded.record.metrics[name].value for loaded in records]
        sd = stdev(per_seed) if len(per_seed) > 1 else None
        values[name] = GenerationValue(fmean(per_seed), first.floor, sd, first.higher_is_better)
    return GenerationRow(tuple(records), values)


def _order(row: GenerationRow) -> tuple[float, str, str]:
    value = -row.primary.value if row.primary.higher_is_better else row.primary.value
    return (value, row.lowest_seed.record.cell.backbone.title, row.lowest_seed.backbone_key)


def primary_values(tables: Sequence[GenerationTable]) -> dict[str, dict[str, GenerationValue]]:
    """Returns for each network (`LoadedRecord.network_key`) its primary values, by the name of the metric.

    Two protocols may differ in something that the name does not state, such as the number of steps of the sampler.
    Then the protocol's name is used instead.
    """
    names = [table.newest.primary for table in tables]
    values: dict[str, dict[str, GenerationValue]] = defaultdict(dict)
    for table in tables:
        primary = table.newest.primary or ""
        label = primary if names.count(primary) == 1 else table.newest.protocol.name
        for row in table.rows:
            values[row.lowest_seed.network_key][label] = row.primary
    return values
