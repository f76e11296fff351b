"""Loads the records of a folder, groups them by board, and finds those that a board leaves out, with the reason."""

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

_LISTED = 5  # file names in a message


@dataclass(frozen=True)
class LoadedRecord:
    """A record and the file it was read from."""

    record: Record
    path: Path

    @property
    def age_key(self) -> tuple[str, str, str]:
        """Key that sorts records by age; records of the same second by identity and path, so the order is total."""
        return (self.record.provenance.created, self.record.id, self.path.as_posix())

    @property
    def backbone_key(self) -> str:
        """Equal for the records of one row: the same network in the same precision, with the same `Record.readout`."""
        levels = [trial.level for trial in self.record.soft_vote]
        trained = [] if self.record.frozen else ["trained"]
        return canonical_json([*self._network_and_precision, *([levels] if levels else []), *trained])

    @property
    def _network_and_precision(self) -> list[JsonValue]:
        backbone = self.record.cell.backbone
        return [backbone.name, backbone.options, backbone.fingerprint, self.record.cell.precision]

    @property
    def network_key(self) -> str:
        """Equal for the records of one network, whatever was measured."""
        backbone = self.record.cell.backbone
        return canonical_json([backbone.name, backbone.options, backbone.fingerprint])

    @property
    def speed_key(self) -> str:
        """Equal for the records whose speeds are averaged, whatever their probe."""
        dataset = self.record.cell.dataset
        network = canonical_json(self._network_and_precision)
        return canonical_json([network, dataset.name, dataset.options, self.record.provenance.device_name])


@dataclass(frozen=True)
class Excluded:
    """A record that is not ranked."""

    loaded: LoadedRecord
    reason: str


@dataclass(frozen=True)
class BoardRecords:
    """The records of one board: one dataset under one protocol.

    Attributes:
        newest: The newest usable record; the board is for its protocol, dataset and test images.
        kept: Records that are ranked, sorted by path.
        excluded: The others.
        correct: For each kept record's path, whether each test image is classified correctly ``(N,)``.
    """

    newest: Record
    kept: tuple[LoadedRecord, ...]
    excluded: tuple[Excluded, ...]
    correct: dict[Path, NDArray[np.bool_]]


def load(folder: Path) -> tuple[LoadedRecord, ...]:
    """Reads all records under a folder, sorted by path.

    Raises:
        UsageError: The folder holds no record.
        RecordError: A record is not valid.
    """
    paths = sorted(folder.rglob("*.json"), key=lambda path: path.relative_to(folder).parts)
    if not paths:
        raise UsageError("there are no records", where=str(folder), hint=f"probebench run --results {folder}")
    return tuple(LoadedRecord(read_record(path), path) for path in paths)


def load_one(path: Path) -> LoadedRecord:
    """Reads a record from its file, or from a folder that holds one record.

    Raises:
        UsageError: The folder holds no record, or several.
        RecordError: The record cannot be read, or is not valid.
    """
    if not path.is_dir():
        return LoadedRecord(read_record(path), path)
    paths = sorted(path.rglob("*.json"))
    if len(paths) > 1:
        names = ", ".join(one.name for one in paths[:_LISTED]) + (", ..." if len(paths) > _LISTED else "")
        raise UsageError(
            f"the folder holds {len(paths)} records: {names}", where=str(path), hint=f"name one, such as {paths[0]}"
        )
    [loaded] = load(path)
    return loaded


def board_records(records: Iterable[LoadedRecord]) -> list[BoardRecords]:
    """Groups records by dataset and protocol name, and separates those that cannot be ranked.

    Records of generated images are ignored; see `probebench.board.generation`.
    """
    members: dict[str, list[LoadedRecord]] = defaultdict(list)
    for loaded in records:
        if loaded.record.generation:
            continue
        dataset, protocol = loaded.record.cell.dataset, loaded.record.protocol
        members[canonical_json([dataset.name, dataset.options, protocol.name])].append(loaded)
    return [_select(members[key]) for key in sorted(members)]


def _select(records: Sequence[LoadedRecord]) -> BoardRecords:
    excluded = [Excluded(loaded, reason) for loaded in records if (reason := unusable(loaded.record))]
    usable = [loaded for loaded in records if not unusable(loaded.record)]
    newest = max(usable or records, key=lambda loaded: loaded.age_key).record
    latest = _latest_versions(usable)
    seen: dict[tuple[str, int], LoadedRecord] = {}
    correct: dict[Path, NDArray[np.bool_]] = {}
    for loaded in sorted(usable, key=lambda loaded: loaded.age_key, reverse=True):
        cell = loaded.record.cell
        reason = _stale(loaded.record, newest)
        if not reason and cell.backbone.version < latest[cell.backbone.name]:
            reason = f"stale: version {cell.backbone.version} of the backbone; now {latest[cell.backbone.name]}"
        if not reason and (newer := seen.get((loaded.backbone_key, cell.seed))):
            reason = f"superseded by a newer record of the same cell, {newer.path.name}"
        if not reason:
            try:
                correct[loaded.path] = read_predictions(loaded.record, loaded.path)[1]
            except RecordError as error:
                reason = f"incomplete: {error.what}"
        if reason:
            excluded.append(Excluded(loaded, reason))
        else:
            seen[loaded.backbone_key, cell.seed] = loaded
    kept = tuple(loaded for loaded in usable if loaded.path in correct)
    return BoardRecords(newest, kept, tuple(excluded), correct)


def unusable(record: Record) -> str:
    """Returns why a record cannot be on any board; empty if it can."""
    if record.error is not None:
        return f"failed: {record.error.type}"
    if record.smoke:
        return f"smoke run on {record.cell.limit} images per split"
    if record.provenance.git is not None and record.provenance.git.dirty:
        return "made from uncommitted source"
    return ""


def _stale(record: Record, newest: Record) -> str:
    """Returns why a record does not belong to the board's edition; empty if it does."""
    dataset, other = record.cell.dataset, newest.cell.dataset
    if record.protocol.hash != newest.protocol.hash:
        return f"stale: protocol {record.protocol.hash[:8]}"
    if dataset.version != other.version:
        return f"stale: version {dataset.version} of the dataset"
    if dataset.fingerprints != other.fingerprints or dataset.classes != other.classes:
        return "stale: the images of the dataset were different"
    if record.parts["test"] != newest.parts["test"] or record.primary != newest.primary:
        return "stale: measured on other test images, or ranked by another metric"
    return ""


def _latest_versions(records: Iterable[LoadedRecord]) -> dict[str, int]:
    latest: dict[str, int] = {}
    for loaded in records:
        backbone = loaded.record.cell.backbone
        latest[backbone.name] = max(backbone.version, latest.get(backbone.name, 0))
    return latest
