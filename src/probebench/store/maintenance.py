"""What lies in a feature store, whether it is sound, and what can go.

Only files that a store writes are ever removed, so that a wrong ``--store`` costs nobody their data.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probebench.api import Point
from probebench.store import generated, neighbours
from probebench.store.features import FORMAT, KEY, MANIFEST, Store
from probebench.store.shards import Manifest, ShardName, storage_errors
from probebench.util.errors import StoreError
from probebench.util.hashing import digest

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_ENTRY = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\..+\.tmp")
_HOUR, _DAY = 3600, 86400


@dataclass(frozen=True, slots=True)
class Summary:
    """One entry of a store, one file of kept neighbours, or one set of drawn images.

    Attributes:
        key: Its key; of neighbours, the digest of the file.
        backbone: Name, and the head of the fingerprint; of drawn images, its title.
        split: Source of the images.
        point: Tap, level and pool; after that of neighbours stands what they are. Of drawn images, their seed.
        rows: Number of rows.
        dim: Width of the rows; nothing while the entry is unfinished. Of neighbours, how many each image has; 0 of
            images.
        size: Bytes on disk.
        used: Time of the last use, in seconds since 1970.
    """

    key: str
    backbone: str
    split: str
    point: str
    rows: int
    dim: int | None
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Removed:
    """What `collect` removed.

    Attributes:
        files: How many.
        size: Their bytes.
    """

    files: int
    size: int


def summaries(root: Path) -> list[Summary]:
    """All entries whose key document is sound, all neighbours whose file is, and drawn images; the last used first."""
    found = []
    for folder in _folders(root):
        if (document := _key_document(folder)) is None:
            continue
        match document["document"]:
            case {
                "backbone": {"name": str(name), "fingerprint": str(weights)},
                "split": {"source": str(split)},
                "point": {"tap": str(tap), "level": str(level), "pool": str(pool)},
            }:
                words = (f"{name} {weights[:8]}", split, str(Point(tap, level, pool)))
            case _:
                words = ("?", "?", "?")
        manifest, files = _manifest(folder), _files(folder)
        dim = manifest.dim if manifest else None
        found.append(Summary(folder.name, *words, document["rows"], dim, _size(files), _used(files)))
    for folder in generated.folders(root):
        (backbone, seed), files = generated.describe(folder), generated.files(folder)
        found.append(Summary(folder.name, backbone, "samples", seed, len(files) - 1, 0, _size(files), _used(files)))
    for path in _kept_files(root):
        with suppress(ValueError):
            origin, rows, count = neighbours.describe(path)
            words = (origin.backbone, origin.split, f"{origin.point} neighbours")
            found.append(Summary(path.stem, *words, rows, count, _size([path]), _used([path])))
    return sorted(found, key=lambda one: (-one.used, one.key))


def verify(root: Path) -> list[tuple[Path, str]]:
    """Reads every file of the store; gives the broken ones and what is wrong with each. Changes nothing."""
    broken: list[tuple[Path, str]] = []
    for folder in _folders(root):
        document = _key_document(folder)
        if document is None:
            if any(not _TEMPORARY.fullmatch(path.name) for path in _files(folder)):
                broken.append((folder / KEY, "is missing, altered, or of another version of the store"))
            continue
        try:
            entry = Store(root).entry(document["document"], document["rows"], shard_rows=document["shard_rows"])
            broken.extend(entry.faults())
        except StoreError as error:
            broken.append((folder, error.what))
    faults = ((path, neighbours.fault(path)) for path in _kept_files(root))
    return broken + [(path, fault) for path, fault in faults if fault]


def collect(root: Path, *, max_size: int | None = None) -> Removed:
    """Removes what nobody can use any more and, with a limit, what was not used for longest.

    That is entries, neighbours, and sets of drawn images.

    Of no use are temporary files older than an hour (a writer may be at work on a younger one), shards that the
    manifest of their entry does not list, and entries that have been unfinished for a day.

    Args:
        root: The store.
        max_size: Bytes that may stay.

    Raises:
        StoreError: A file cannot be removed.
    """
    now = time.time()
    gone: list[Path] = []
    complete: list[tuple[float, list[Path]]] = []
    size = 0
    for folder in _folders(root):
        rubbish = _rubbish(folder, now)
        gone += rubbish
        kept = [path for path in _files(folder) if path not in rubbish]
        size += _size(kept)
        if folder / MANIFEST in kept:
            complete.append((_used(kept), kept))
    for path in _kept_files(root):
        size += _size([path])
        complete.append((_used([path]), [path]))
    for folder in generated.folders(root):
        gone += [path for path in (*_children(folder), *_children(folder / generated.IMAGES)) if _abandoned(path, now)]
        files = generated.files(folder)
        size += _size(files)
        complete.append((_used(files), files))
    gone += [path for path in _children(root / neighbours.FOLDER) if _abandoned(path, now)]
    for _, files in sorted(complete):
        if max_size is None or size <= max_size:
            break
        gone += files
        size -= _size(files)
    removed = Removed(len(gone), _size(gone))
    # Manifests go first: from then on an entry is unfinished, and not broken.
    for path in generated.removal_order(sorted(gone, key=lambda path: path.name != MANIFEST)):
        with storage_errors("remove", path):
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in gone}:
        with suppress(OSError):  # not empty
            folder.rmdir()
            if folder.parent != root:
                folder.parent.rmdir()
    return removed


def _rubbish(folder: Path, now: float) -> list[Path]:
    files, manifest = _files(folder), _manifest(folder)
    if manifest is None and _age(files, now) > _DAY:
        return files
    listed = {str(name) for name in manifest.shards} if manifest else set()
    return [
        path
        for path in files
        if _abandoned(path, now) or (manifest and ShardName.parse(path.name) and path.name not in listed)
    ]


def _abandoned(path: Path, now: float) -> bool:
    """Whether it is a temporary file that no writer is at work on any more."""
    return _TEMPORARY.fullmatch(path.name) is not None and _age([path], now) > _HOUR


def _kept_files(root: Path) -> list[Path]:
    """Files of neighbours, sorted."""
    return [path for path in _children(root / neighbours.FOLDER) if neighbours.NAME.fullmatch(path.name)]


def _folders(root: Path) -> list[Path]:
    """Folders of entries, sorted."""
    return [
        folder
        for group in _children(root)
        if len(group.name) == 2 and group.is_dir()
        for folder in _children(group)
        if _ENTRY.fullmatch(folder.name) and folder.is_dir()
    ]


def _files(folder: Path) -> list[Path]:
    """The files that a store writes, sorted."""
    return [
        path
        for path in _children(folder)
        if path.name in (KEY, MANIFEST) or ShardName.parse(path.name) or _TEMPORARY.fullmatch(path.name)
    ]


def _children(folder: Path) -> list[Path]:
    with storage_errors("read", folder):
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []


def _key_document(folder: Path) -> dict[str, Any] | None:
    try:
        document = json.loads((folder / KEY).read_bytes())
        sound = isinstance(document, dict) and digest(document) == folder.name and document["format"] == FORMAT
    except (OSError, ValueError, KeyError):
        return None
    return document if sound else None


def _manifest(folder: Path) -> Manifest | None:
    try:
        return Manifest.decode((folder / MANIFEST).read_bytes())
    except OSError:
        return None


def _size(files: Iterable[Path]) -> int:
    return sum(status.st_size for status in _statuses(files))


def _used(files: Iterable[Path]) -> float:
    return max((status.st_mtime for status in _statuses(files)), default=0.0)


def _age(files: Iterable[Path], now: float) -> float:
    """Seconds since the last change; none where the files have just gone."""
    return now - max((status.st_mtime for status in _statuses(files)), default=now)


def _statuses(files: Iterable[Path]) -> Iterator[os.stat_result]:
    """Of the files that are still there: other processes rename and remove theirs at any moment."""
    for path in files:
        with suppress(FileNotFoundError):
            yield path.stat()
