"""The files of a stored feature matrix: their names, their encoding and their checks.

The name of a shard contains its number and the start of the SHA-256 of its bytes, and its header contains the key of
its entry. So a shard can be checked without other files, and two processes that write the same shard write the same
file. A manifest contains its own digest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probebench.util.errors import StoreError
from probebench.util.hashing import canonical_json, digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

_NAME = re.compile(r"(\d{6})-([0-9a-f]{32})\.safetensors")
_TENSOR = "features"
_OWNER = "probebench"  # a single header entry, because safetensors does not fix the order of several


class BrokenShardError(Exception):
    """Raised when a shard is missing, broken or misplaced. Its text ends a sentence that starts with the path."""


@dataclass(frozen=True, slots=True, order=True)
class ShardName:
    """The file name of a shard.

    Attributes:
        number: Position of the shard in its entry.
        digest: First 32 hexadecimal digits of the SHA-256 of the file.
    """

    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.number:06d}-{self.digest}.safetensors"

    @classmethod
    def parse(cls, name: str) -> ShardName | None:
        """Parses a file name; returns None if it is not the name of a shard."""
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), match[2]) if match else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a complete entry.

    Attributes:
        rows: Number of rows.
        dim: Width of the rows.
        shards: The shards, in the order of their rows.
    """

    rows: int
    dim: int
    shards: tuple[ShardName, ...]

    def encode(self) -> bytes:
        """Returns the bytes of the file."""
        return pretty_json(_with_digest(self.rows, self.dim, [str(shard) for shard in self.shards]))

    @classmethod
    def decode(cls, data: bytes) -> Manifest | None:
        """Returns the manifest in a file, or None if the file is truncated or altered."""
        try:
            document = json.loads(data)
            rows, dim, names = document["rows"], document["dim"], document["shards"]
            shards = tuple(shard for name in names if (shard := ShardName.parse(name)))
            return cls(rows, dim, shards) if document == _with_digest(rows, dim, names) else None
        except (ValueError, KeyError, TypeError):
            return None


def _with_digest(rows: int, dim: int, names: Sequence[str]) -> dict[str, Any]:
    content = {"rows": rows, "dim": dim, "dtype": "float32", "shards": list(names)}
    return {**content, "sha256": digest(content)}


def encode(features: Tensor, key: str, number: int) -> tuple[ShardName, bytes]:
    """Returns the name and the bytes of a shard. Equal rows give equal bytes.

    Args:
        features: float32 ``(rows, D)``.
        key: Key of the entry of the shard.
        number: Position of the shard in the entry.
    """
    from safetensors.torch import save

    data = save({_TENSOR: features.contiguous()}, {_OWNER: _owner(key, number)})
    return ShardName(number, hashlib.sha256(data).hexdigest()[:32]), data


def load(path: Path) -> Tensor:
    """Returns the rows of a shard, memory-mapped: float32 ``(rows, D)``. Call `check` first."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(_TENSOR)
    return tensor


def check(folder: Path, name: ShardName, key: str, rows: int, dim: int | None) -> int:
    """Checks all bytes and the header of a shard.

    Args:
        folder: Folder of the entry.
        name: Name of the shard.
        key: Key of the entry.
        rows: Expected number of rows.
        dim: Expected width of the rows; None if it is not known yet.

    Returns:
        The width of the rows.

    Raises:
        BrokenShardError: The file is missing, or is not this shard.
        StoreError: The file exists and cannot be read.
    """
    path = folder / str(name)
    with storage_errors("read", path):
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise BrokenShardError("is missing") from None
    if not sha256.startswith(name.digest):
        raise BrokenShardError("is truncated or altered: its SHA-256 is not the digest in its name")
    owner, kind, shape = _header(path)
    if owner != _owner(key, name.number):
        raise BrokenShardError("belongs to another entry, or has another number")
    if kind != "F32" or len(shape) != 2 or shape != (rows, dim or shape[1]):
        raise BrokenShardError(f"contains {kind} {shape}, not F32 ({rows}, {dim or 'D'})")
    return shape[1]


def _header(path: Path) -> tuple[str | None, str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            rows = file.get_slice(_TENSOR)
            return (file.metadata() or {}).get(_OWNER), rows.get_dtype(), tuple(rows.get_shape())
    except (SafetensorError, FileNotFoundError) as error:
        raise BrokenShardError(f"is not a file of features: {error}") from error


@contextmanager
def storage_errors(verb: str, path: Path) -> Iterator[None]:
    """Converts errors of the operating system to a `StoreError` with a hint.

    Args:
        verb: The operation: ``read``, ``write`` or ``delete``.
        path: The file or folder of the operation.

    Raises:
        StoreError: The block raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        what, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), "check the disk and the path"))
        raise StoreError(f"the feature store cannot {verb} a file: {what}", where=str(path), hint=hint) from error


def pretty_json(document: Mapping[str, Any]) -> bytes:
    """Returns a document as indented JSON with sorted keys. Equal documents give equal bytes."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _owner(key: str, number: int) -> str:
    return canonical_json({"key": key, "shard": number})


_FREE_SPACE = "free some space, or run 'probebench store gc --max-size 5GB', and run the same command again"
_OTHER_FOLDER = "give --store a folder in which you may create files"
_REASONS = {
    errno.ENOSPC: ("the disk is full", _FREE_SPACE),
    errno.EDQUOT: ("the disk quota is used up", _FREE_SPACE),
    errno.EACCES: ("no permission", _OTHER_FOLDER),
    errno.EPERM: ("no permission", _OTHER_FOLDER),
    errno.EROFS: ("the file system is read-only", _OTHER_FOLDER),
    errno.ENOTDIR: ("a parent of the path is a file", _OTHER_FOLDER),
    errno.EEXIST: ("a parent of the path is a file", _OTHER_FOLDER),
}
