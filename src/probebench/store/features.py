"""Feature matrices on disk. The key of a matrix is a digest of everything that can change it.

Layout, below the root::

    <key[:2]>/<key>/key.json                        the key document, compared whenever the entry is used
    <key[:2]>/<key>/000000-<digest>.safetensors     shards
    <key[:2]>/<key>/manifest.json                   rows, width and shard names; written last

An entry without a manifest is unfinished. Its shards are valid, and any process can add the missing ones. Files are
written to a temporary name, synced and renamed, so that a crash leaves no incomplete file under a final name.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from probebench.store.shards import (
    BrokenShardError,
    Manifest,
    ShardName,
    check,
    encode,
    load,
    pretty_json,
    storage_errors,
)
from probebench.util.errors import ProbebenchWarning, StoreError
from probebench.util.files import write_bytes
from probebench.util.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

FORMAT = 1
"""Version of the file format. It is part of every key, so that entries of an earlier format are not used."""

SHARD_ROWS = 1024
"""Images per shard: a killed run loses at most one shard, and extraction keeps one in memory."""

KEY, MANIFEST = "key.json", "manifest.json"

_RERUN = "run the same command again"


class MissingShardsError(StoreError):
    """Raised when an entry is read whose shards are not complete, or no longer."""


class RepairWarning(ProbebenchWarning):
    """A warning about a broken file of the store. The file is computed again, so no record keeps the warning."""


class Store:
    """A folder of feature matrices. Several processes may share it.

    Args:
        root: The folder, which the first write creates.

    Raises:
        StoreError: `root` is a file.
    """

    def __init__(self, root: Path) -> None:
        with storage_errors("read", root):
            if root.exists() and not root.is_dir():
                raise StoreError(
                    "the feature store is a file", where=str(root), hint="give --store the path of a folder"
                )
        self.root = root

    def entry(self, document: Mapping[str, Any], rows: int, *, shard_rows: int = SHARD_ROWS) -> StoreEntry:
        """Returns the entry of one feature matrix, which need not exist yet.

        Args:
            document: Everything that can change the matrix, as JSON values.
            rows: Number of rows, at least 1.
            shard_rows: Rows per shard.

        Raises:
            StoreError: The stored key document differs from this one.
        """
        return StoreEntry(self.root, document, rows, shard_rows)


class StoreEntry:
    """One feature matrix, complete or not. `Store.entry` returns it.

    Attributes:
        key: SHA-256 of the key document, in hexadecimal.
        folder: Folder of the files.
        rows: Number of rows.
        dim: Width of the rows; None until a shard has been checked or written.
        shards: Number of shards of the complete entry.
    """

    def __init__(self, root: Path, document: Mapping[str, Any], rows: int, shard_rows: int) -> None:
        if rows < 1 or shard_rows < 1:
            raise ValueError(f"an entry of {rows} rows in shards of {shard_rows} is not possible")
        self._document = {"format": FORMAT, "rows": rows, "shard_rows": shard_rows, "document": dict(document)}
        self._shard_rows = shard_rows
        self._names: dict[int, ShardName] = {}
        self.key = digest(self._document)
        self.folder = root / self.key[:2] / self.key
        self.rows = rows
        self.shards = -(-rows // shard_rows)
        self.dim: int | None = None
        self._check_key()

    @property
    def complete(self) -> bool:
        """Whether the key document, the manifest and all files in the manifest exist. Reads no shard."""
        manifest = self._manifest()
        files = [self.folder / KEY, *map(self._path, manifest.shards)] if manifest else []
        return manifest is not None and all(path.exists() for path in files)

    def span(self, number: int) -> range:
        """Returns the rows of a shard."""
        return range(number * self._shard_rows, min((number + 1) * self._shard_rows, self.rows))

    def missing_shards(self) -> list[int]:
        """Returns the numbers of the shards that must be computed.

        Every existing shard is read and checked. A shard that is truncated, altered or from another entry causes a
        `RepairWarning` and is deleted, so that it is missing.

        Raises:
            StoreError: A file cannot be read or deleted.
        """
        self._names = {}
        broken = dict(self.faults())
        for path, fault in broken.items():
            message = f"{path} {fault}; it is deleted, and computed again if it is needed"
            warnings.warn(message, RepairWarning, stacklevel=2)
        manifest = self._manifest()
        if manifest and not broken.keys().isdisjoint(map(self._path, manifest.shards)):
            self._delete(self.folder / MANIFEST)
        for path in broken:
            self._delete(path)
        return [number for number in range(self.shards) if number not in self._names]

    def write(self, number: int, features: Tensor) -> None:
        """Stores one shard.

        Args:
            number: Number of the shard.
            features: float32 ``(len(span(number)), D)``, on the CPU.

        Raises:
            ValueError: The shape or the type is wrong.
            StoreError: The file cannot be written.
        """
        import torch

        expected = (len(self.span(number)), self.dim or features.shape[-1])
        if tuple(features.shape) != expected or features.dtype != torch.float32:
            raise ValueError(f"shard {number} is {features.dtype} {tuple(features.shape)}, not float32 {expected}")
        self._write_key()
        name, data = encode(features, self.key, number)
        self._write(str(name), data)
        self._names[number], self.dim = name, expected[1]

    def write_manifest(self) -> None:
        """Writes the manifest, unless another process has completed the entry already.

        Raises:
            ValueError: Shards are missing.
            StoreError: The file cannot be written.
        """
        if self.complete:
            return
        if len(self._names) < self.shards or self.dim is None:
            raise ValueError(f"only {len(self._names)} of {self.shards} shards are written")
        shards = tuple(self._names[number] for number in range(self.shards))
        self._write_key()
        self._write(MANIFEST, Manifest(self.rows, self.dim, shards).encode())

    def read(self) -> Tensor:
        """Reads the whole matrix. Each shard is checked, and then copied from its memory-mapped file.

        Returns:
            float32 ``(rows, D)``, which may be modified.

        Raises:
            MissingShardsError: The entry is not complete, or a file is broken. Compute and write the
                `missing_shards`, write the manifest, and read again.
        """
        import torch

        manifest = self._manifest()
        if manifest is None:
            raise MissingShardsError("features are missing from the store", where=str(self.folder), hint=_RERUN)
        matrix = torch.empty((self.rows, manifest.dim))
        for name in manifest.shards:
            path, span = self._path(name), self.span(name.number)
            try:
                check(self.folder, name, self.key, len(span), manifest.dim)
            except BrokenShardError as error:
                raise MissingShardsError(f"a shard of the features {error}", where=str(path), hint=_RERUN) from error
            matrix[span.start : span.stop] = load(path)
        with suppress(OSError):  # the time of the last use, for gc; a read-only store can still be read
            os.utime(self.folder / MANIFEST)
        return matrix

    def faults(self) -> Iterator[tuple[Path, str]]:
        """Checks all files of the entry, and yields each broken file with its fault. Deletes nothing."""
        data = self._bytes(MANIFEST)
        manifest = self._decode(data)
        if data is not None and manifest is None:
            yield self.folder / MANIFEST, "is not the manifest of this entry, or is truncated or altered"
        self.dim = manifest.dim if manifest else None
        for name in manifest.shards if manifest else self._shard_files():
            path = self._path(name)
            if name.number >= self.shards:
                yield path, f"has a number above that of the last shard, {self.shards - 1}"
                continue
            try:
                self.dim = check(self.folder, name, self.key, len(self.span(name.number)), self.dim)
            except BrokenShardError as error:
                if manifest or path.exists():  # otherwise another process has just deleted it
                    yield path, str(error)
            else:
                self._names.setdefault(name.number, name)

    def _manifest(self) -> Manifest | None:
        """Returns the manifest, or None if it is missing or broken."""
        return self._decode(self._bytes(MANIFEST))

    def _decode(self, data: bytes | None) -> Manifest | None:
        manifest = Manifest.decode(data or b"")
        numbers = [name.number for name in manifest.shards] if manifest else []
        return manifest if manifest and manifest.rows == self.rows and numbers == list(range(self.shards)) else None

    def _shard_files(self) -> list[ShardName]:
        """Returns the shards in the folder, sorted by number and digest."""
        with storage_errors("read", self.folder):
            try:
                names = [ShardName.parse(path.name) for path in self.folder.iterdir()]
            except FileNotFoundError:
                return []
        return sorted(name for name in names if name)

    def _check_key(self) -> None:
        if self._bytes(KEY) not in (None, pretty_json(self._document)):
            raise StoreError(
                "a key document of the feature store does not match the name of its folder",
                where=str(self.folder / KEY),
                hint="delete this folder and run the same command again",
            )

    def _write_key(self) -> None:
        if not (self.folder / KEY).exists():
            self._write(KEY, pretty_json(self._document))

    def _path(self, name: ShardName) -> Path:
        return self.folder / str(name)

    def _bytes(self, name: str) -> bytes | None:
        with storage_errors("read", self.folder / name):
            try:
                return (self.folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def _write(self, name: str, data: bytes) -> None:
        with storage_errors("write", self.folder / name):
            write_bytes(self.folder / name, data)

    def _delete(self, path: Path) -> None:
        with storage_errors("delete", path):
            path.unlink(missing_ok=True)
