"""Measures of drawn images: rows by dataset and protocol, for a page of their own and beside the backbones' others.

The name of a number holds the number of images, the reference and the extractor, the protocol everything else. So what
stands in one table can be compared, and nothing is put in order across tables.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from probebench.board.collect import Excluded, unfit
from probebench.util.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import DatasetCell, Record


@dataclass(frozen=True)
class Value:
    """A number of a row, mean over seeds.

    Attributes:
        value: The mean.
        floor: The same measure of as many real images; None where there are not as many.
        sd: Standard deviation over seeds; None for one seed.
        higher_is_better: Whether a larger value speaks for the drawn images.
    """

    value: float
    floor: float | None
    sd: float | None
    higher_is_better: bool


@dataclass(frozen=True)
class GenerationRow:
    """One network under one protocol.

    Attributes:
        entries: Its records, one a seed, by seed.
        values: By metric; the first is the primary one.
    """

    entries: tuple[LoadedRecord, ...]
    values: Mapping[str, Value]

    @property
    def lowest(self) -> Record:
        """The record of the lowest seed."""
        return self.entries[0].record

    @property
    def primary(self) -> Value:
        """The number that rows are put in order by."""
        return self.values[self.lowest.primary or ""]


@dataclass(frozen=True)
class GenerationTable:
    """The rows of one dataset and protocol, the best first.

    Attributes:
        newest: The record whose protocol, dataset, reference and extractor the table is for.
        rows: Of that edition.
        excluded: Records left out, with the reason.
    """

    newest: Record
    rows: tuple[GenerationRow, ...]
    excluded: tuple[Excluded, ...]


def generation_tables(entries: Iterable[LoadedRecord]) -> dict[str, tuple[GenerationTable, ...]]:
    """The tables that records give, by dataset (see `dataset_key`); those of features are passed over."""
    members: dict[str, dict[str, list[LoadedRecord]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        if entry.record.generation:
            members[dataset_key(entry.record.cell.dataset)][entry.record.protocol.name].append(entry)
    return {key: tuple(_table(found[name]) for name in sorted(found)) for key, found in sorted(members.items())}


def dataset_key(dataset: DatasetCell) -> str:
    """What makes two records belong to one dataset."""
    return canonical_json([dataset.name, dataset.options])


def _table(entries: Sequence[LoadedRecord]) -> GenerationTable:
    excluded = [Excluded(entry, reason) for entry in entries if (reason := unfit(entry.record))]
    fit = [entry for entry in entries if not unfit(entry.record)]
    newest = max(fit or entries, key=lambda entry: entry.newness).record
    kept: dict[str, dict[int, LoadedRecord]] = defaultdict(dict)
    for entry in sorted(fit, key=lambda entry: entry.newness, reverse=True):
        reason = _stale(entry.record, newest)
        row = kept[entry.backbone_key] if not reason else {}
        if not reason and (twin := row.get(entry.record.cell.seed)):
            reason = f"superseded by a newer record of the same cell, {twin.path.name}"
        if reason:
            excluded.append(Excluded(entry, reason))
        else:
            row[entry.record.cell.seed] = entry
    rows = [_row([found[seed] for seed in sorted(found)]) for found in kept.values()]
    left_out = sorted(excluded, key=lambda one: (one.entry.record.cell.backbone.title, one.entry.path.as_posix()))
    return GenerationTable(newest, tuple(sorted(rows, key=_order)), tuple(left_out))


def _stale(record: Record, newest: Record) -> str:
    """Why a record is not of the table's edition; empty if it is."""
    if record.protocol.hash != newest.protocol.hash:
        return f"stale: protocol {record.protocol.hash[:8]}"
    if record.cell.dataset.fingerprints != newest.cell.dataset.fingerprints or record.parts != newest.parts:
        return "stale: held against other images"
    if record.samples and newest.samples and record.samples.extractor != newest.samples.extractor:
        return "stale: the extractor was another one"
    return ""


def _row(entries: Sequence[LoadedRecord]) -> GenerationRow:
    values = {}
    for name, first in entries[0].record.metrics.items():
        measures = [entry.record.metrics[name] for entry in entries]
        found = [measure.value for measure in measures]
        values[name] = Value(
            fmean(found), first.floor, stdev(found) if len(found) > 1 else None, first.higher_is_better
        )
    return GenerationRow(tuple(entries), values)


def _order(row: GenerationRow) -> tuple[float, str, str]:
    value = -row.primary.value if row.primary.higher_is_better else row.primary.value
    return (value, row.lowest.cell.backbone.title, row.entries[0].backbone_key)


def beside_features(tables: Sequence[GenerationTable]) -> dict[str, dict[str, Value]]:
    """For each network (`LoadedRecord.network_key`) the primary numbers, by their name.

    Two protocols may differ in more than the name of their number says, such as the sampler's steps: then it is the
    protocol's name.
    """
    names = [table.newest.primary for table in tables]
    found: dict[str, dict[str, Value]] = defaultdict(dict)
    for table in tables:
        primary = table.newest.primary or ""
        label = primary if names.count(primary) == 1 else table.newest.protocol.name
        for row in table.rows:
            found[row.entries[0].network_key][label] = row.primary
    return found
