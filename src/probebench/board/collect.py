"""From a folder of records to the records of each board, and those that a board leaves out, with the reason."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - annotations of dataclasses
from typing import TYPE_CHECKING

from probebench.records.files import read_predictions, read_record
from probebench.util.errors import RecordError, UsageError
from probebench.util.hashing import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from pydantic import JsonValue

    from probebench.records.schema import Record


@dataclass(frozen=True)
class LoadedRecord:
    """A record and the file it was read from."""

    record: Record
    path: Path

    @property
    def newness(self) -> tuple[str, str, str]:
        """Orders records by age; records of one second by identity and path, so that the order is total."""
        return (self.record.provenance.created, self.record.id, self.path.as_posix())

    @property
    def backbone_key(self) -> str:
        """What makes two records belong to one row: one network, in one precision, read in one `Record.readout`."""
        levels = [trial.level for trial in self.record.soft_vote]
        trained = [] if self.record.frozen else ["trained"]
        return canonical_json([*self._read, *([levels] if levels else []), *trained])

    @property
    def _read(self) -> list[JsonValue]:
        backbone = self.record.cell.backbone
        return [backbone.name, backbone.options, backbone.fingerprint, self.record.cell.precision]

    @property
    def network_key(self) -> str:
        """What makes two records speak of one network, whatever was done with it."""
        backbone = self.record.cell.backbone
        return canonical_json([backbone.name, backbone.options, backbone.fingerprint])

    @property
    def speed_key(self) -> str:
        """What makes two records tell of one speed, whatever their probe."""
        dataset = self.record.cell.dataset
        read = canonical_json(self._read)
        return canonical_json([read, dataset.name, dataset.options, self.record.provenance.device_name])


@dataclass(frozen=True)
class Excluded:
    """A record that is not ranked."""

    entry: LoadedRecord
    reason: str


@dataclass(frozen=True)
class Group:
    """The records of one board: one dataset under one protocol.

    Attributes:
        newest: The record whose protocol, dataset and test images the board is for.
        kept: Records that are ranked, sorted by path.
        excluded: The others.
        correct: For each kept record's path, whether each test image was right ``(N,)``.
    """

    newest: Record
    kept: tuple[LoadedRecord, ...]
    excluded: tuple[Excluded, ...]
    correct: dict[Path, NDArray[np.bool_]]


def load(folder: Path) -> tuple[LoadedRecord, ...]:
    """All records under a folder, sorted by path.

    Raises:
        UsageError: There is none.
        RecordError: One of them is not valid.
    """
    paths = sorted(folder.rglob("*.json"), key=lambda path: path.relative_to(folder).parts)
    if not paths:
        raise UsageError("no records", where=str(folder), hint=f"probebench run --results {folder}")
    return tuple(LoadedRecord(read_record(path), path) for path in paths)


def groups(entries: Iterable[LoadedRecord]) -> list[Group]:
    """Sorts records by dataset and protocol name, and out what cannot be ranked.

    Those of drawn images are passed over, see `probebench.board.generation`.
    """
    members: dict[str, list[LoadedRecord]] = defaultdict(list)
    for entry in (entry for entry in entries if not entry.record.generation):
        dataset, protocol = entry.record.cell.dataset, entry.record.protocol
        members[canonical_json([dataset.name, dataset.options, protocol.name])].append(entry)
    return [_sift(members[key]) for key in sorted(members)]


def _sift(entries: Sequence[LoadedRecord]) -> Group:
    excluded = [Excluded(entry, reason) for entry in entries if (reason := unfit(entry.record))]
    fit = [entry for entry in entries if not unfit(entry.record)]
    newest = max(fit or entries, key=lambda entry: entry.newness).record
    latest = _latest_versions(fit)
    seen: dict[tuple[str, int], LoadedRecord] = {}
    correct: dict[Path, NDArray[np.bool_]] = {}
    for entry in sorted(fit, key=lambda entry: entry.newness, reverse=True):
        cell = entry.record.cell
        reason = _stale(entry.record, newest)
        if not reason and cell.backbone.version < latest[cell.backbone.name]:
            reason = f"stale: version {cell.backbone.version} of the backbone; now {latest[cell.backbone.name]}"
        if not reason and (twin := seen.get((entry.backbone_key, cell.seed))):
            reason = f"superseded by a newer record of the same cell, {twin.path.name}"
        if not reason:
            try:
                correct[entry.path] = read_predictions(entry.record, entry.path)[1]
            except RecordError as error:
                reason = f"incomplete: {error.what}"
        if reason:
            excluded.append(Excluded(entry, reason))
        else:
            seen[entry.backbone_key, cell.seed] = entry
    kept = tuple(entry for entry in fit if entry.path in correct)
    return Group(newest, kept, tuple(excluded), correct)


def unfit(record: Record) -> str:
    """Why a record can be on no board; empty if it can."""
    if record.error is not None:
        return f"failed: {record.error.type}"
    if record.smoke:
        return f"smoke run on {record.cell.limit} images per split"
    if record.provenance.git is not None and record.provenance.git.dirty:
        return "dirty tree: made from source that no commit has"
    return ""


def _stale(record: Record, newest: Record) -> str:
    """Why a record is not of the board's edition; empty if it is."""
    dataset, other = record.cell.dataset, newest.cell.dataset
    if record.protocol.hash != newest.protocol.hash:
        return f"stale: protocol {record.protocol.hash[:8]}"
    if dataset.version != other.version:
        return f"stale: version {dataset.version} of the dataset"
    if dataset.fingerprints != other.fingerprints or dataset.classes != other.classes:
        return "stale: the dataset had other images"
    if record.parts["test"] != newest.parts["test"] or record.primary != newest.primary:
        return "stale: measured on other test images, or ranked by another metric"
    return ""


def _latest_versions(entries: Iterable[LoadedRecord]) -> dict[str, int]:
    latest: dict[str, int] = {}
    for entry in entries:
        backbone = entry.record.cell.backbone
        latest[backbone.name] = max(backbone.version, latest.get(backbone.name, 0))
    return latest
