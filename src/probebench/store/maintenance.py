"""Lists, verifies and cleans a feature store.

Only files that a store writes are ever deleted, so that a wrong ``--store`` loses no other data.
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

DESCRIPTIONS = "descriptions"
"""Folder of the descriptions of components, which `probebench.planning.remembered` writes and reads."""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One feature matrix, one file of neighbours, or one set of generated images.

    Attributes:
        key: Key of the matrix, digest of the file of neighbours, or name of the folder of images.
        backbone: Name or title of the backbone, with the start of its fingerprint.
        split: Source of the images; ``samples`` for generated images.
        point: Tap, level and pool, followed by ``neighbours`` for neighbours; the seed for generated images.
        rows: Number of images.
        dim: Width of the matrix, or None if it is unfinished; number of neighbours of each image; 0 for generated
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
class Deleted:
    """The files that `collect_garbage` has deleted.

    Attributes:
        files: Number of files.
        size: Their bytes.
    """

    files: int
    size: int


def stored_items(root: Path) -> list[StoredItem]:
    """Returns all features, neighbours and generated images whose description can be read, the last used first."""
    items = []
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
        items.append(StoredItem(folder.name, *words, document["rows"], dim, _size(files), _used(files)))
    for folder in generated.folders(root):
        (backbone, seed), files = generated.describe(folder), generated.files(folder)
        items.append(StoredItem(folder.name, backbone, "samples", seed, len(files) - 1, 0, _size(files), _used(files)))
    for path in _neighbour_files(root):
        with suppress(ValueError):
            origin, rows, count = neighbours.describe(path)
            words = (origin.backbone, origin.split, f"{origin.point} neighbours")
            items.append(StoredItem(path.stem, *words, rows, count, _size([path]), _used([path])))
    return sorted(items, key=lambda item: (-item.used, item.key))


def verify(root: Path) -> list[tuple[Path, str]]:
    """Reads all files of the store, and returns each broken file with its fault. Changes nothing."""
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
    faults = ((path, neighbours.fault(path)) for path in _neighbour_files(root))
    return broken + [(path, fault) for path, fault in faults if fault]


def collect_garbage(root: Path, *, max_size: int | None = None) -> Deleted:
    """Deletes files that cannot be used and, with a limit, the least recently used features, neighbours and images.

    Files that cannot be used are temporary files older than an hour (a process may be writing a younger one), shards
    that are not in the manifest of their entry, and entries that have been unfinished for a day.

    Args:
        root: The store.
        max_size: Maximal size of the store afterwards, in bytes.

    Raises:
        StoreError: A file cannot be deleted.
    """
    now = time.time()
    unused: list[Path] = []
    complete: list[tuple[float, list[Path]]] = []
    size = 0
    for folder in _folders(root):
        garbage = _garbage(folder, now)
        unused += garbage
        used = [path for path in _files(folder) if path not in garbage]
        size += _size(used)
        if folder / MANIFEST in used:
            complete.append((_used(used), used))
    for path in _neighbour_files(root):
        size += _size([path])
        complete.append((_used([path]), [path]))
    for folder in generated.folders(root):
        unused += [
            path for path in (*_children(folder), *_children(folder / generated.IMAGES)) if _abandoned(path, now)
        ]
        files = generated.files(folder)
        size += _size(files)
        complete.append((_used(files), files))
    others = (*_children(root / neighbours.FOLDER), *_children(root / DESCRIPTIONS))
    unused += [path for path in others if _abandoned(path, now)]
    for _, files in sorted(complete):
        if max_size is None or size <= max_size:
            break
        unused += files
        size -= _size(files)
    deleted = Deleted(len(unused), _size(unused))
    # Manifests of entries are deleted first: an interrupted deletion leaves unfinished entries, not broken ones.
    for path in generated.deletion_order(sorted(unused, key=lambda path: path.name != MANIFEST)):
        with storage_errors("delete", path):
            path.unlink(missing_ok=True)
    for folder in {path.parent for path in unused}:
        with suppress(OSError):  # not empty
            folder.rmdir()
            if folder.parent != root:
                folder.parent.rmdir()
    return deleted


def _garbage(folder: Path, now: float) -> list[Path]:
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
    """Returns whether a path is a temporary file that no process is writing any more."""
    return _TEMPORARY.fullmatch(path.name) is not None and _age([path], now) > _HOUR


def _neighbour_files(root: Path) -> list[Path]:
    """Returns the files of neighbours, sorted."""
    return [path for path in _children(root / neighbours.FOLDER) if neighbours.FILE_NAME.fullmatch(path.name)]


def _folders(root: Path) -> list[Path]:
    """Returns the folders of feature matrices, sorted."""
    return [
        folder
        for group in _children(root)
        if len(group.name) == 2 and group.is_dir()
        for folder in _children(group)
        if _ENTRY.fullmatch(folder.name) and folder.is_dir()
    ]


def _files(folder: Path) -> list[Path]:
    """Returns the files that a store writes to a folder, sorted."""
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
    """Returns the seconds since the last change; 0 if the files no longer exist."""
    return now - max((status.st_mtime for status in _statuses(files)), default=now)


def _statuses(files: Iterable[Path]) -> Iterator[os.stat_result]:
    """Yields the status of files, and skips deleted ones: other processes may rename and delete files at any time."""
    for path in files:
        with suppress(FileNotFoundError):
            yield path.stat()
