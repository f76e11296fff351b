"""The files of a stored feature matrix: how they are named, encoded, and found to be broken.

A shard's name carries its number and the head of the SHA-256 of its bytes, and its header says which entry it
belongs to. So a shard proves by itself that it is whole and in its place, and two processes that write the
same one write the same file. A manifest carries its own digest.
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
_OWNER = "probebench"  # the only header entry: safetensors writes several in no fixed order


class BrokenShardError(Exception):
    """A shard is missing, not whole, or not where it belongs. The text follows the file's name in a sentence."""


@dataclass(frozen=True, slots=True, order=True)
class ShardName:
    """A shard's file name.

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
        """The parts of a file name, or nothing when it is not a shard's."""
        match = _NAME.fullmatch(name)
        return cls(int(match[1]), match[2]) if match else None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a complete entry consists of.

    Attributes:
        rows: Number of rows.
        dim: Width of the rows.
        shards: The shards, in the order of their rows.
    """

    rows: int
    dim: int
    shards: tuple[ShardName, ...]

    def encode(self) -> bytes:
        """The file's bytes."""
        return pretty_json(_sealed(self.rows, self.dim, [str(shard) for shard in self.shards]))

    @classmethod
    def decode(cls, data: bytes) -> Manifest | None:
        """The manifest in a file, or nothing when it is truncated or altered."""
        try:
            document = json.loads(data)
            rows, dim, names = document["rows"], document["dim"], document["shards"]
            shards = tuple(shard for name in names if (shard := ShardName.parse(name)))
            return cls(rows, dim, shards) if document == _sealed(rows, dim, names) else None
        except (ValueError, KeyError, TypeError):
            return None


def _sealed(rows: int, dim: int, names: Sequence[str]) -> dict[str, Any]:
    content = {"rows": rows, "dim": dim, "dtype": "float32", "shards": list(names)}
    return {**content, "sha256": digest(content)}


def encode(features: Tensor, key: str, number: int) -> tuple[ShardName, bytes]:
    """A shard's name and bytes; equal rows give equal bytes.

    Args:
        features: float32 ``(rows, D)``.
        key: Key of the entry that the shard belongs to.
        number: Position of the shard in the entry.
    """
    from safetensors.torch import save

    data = save({_TENSOR: features.contiguous()}, {_OWNER: _owner(key, number)})
    return ShardName(number, hashlib.sha256(data).hexdigest()[:32]), data


def load(path: Path) -> Tensor:
    """A shard's rows, memory-mapped: float32 ``(rows, D)``. `check` the file first."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        tensor: Tensor = file.get_tensor(_TENSOR)
    return tensor


def check(folder: Path, name: ShardName, key: str, rows: int, dim: int | None) -> int:
    """Reads all bytes and the header of a shard.

    Args:
        folder: Where it lies.
        name: Its name.
        key: Key of the entry that the folder belongs to.
        rows: How many rows it must hold.
        dim: How wide they must be; unknown until one shard has been read.

    Returns:
        The width of its rows.

    Raises:
        BrokenShardError: It is not that shard.
        StoreError: It is there and cannot be read.
    """
    path = folder / str(name)
    with storage_errors("read", path):
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise BrokenShardError("is missing") from None
    if not found.startswith(name.digest):
        raise BrokenShardError("is truncated or altered: its bytes do not have the digest in its name")
    owner, kind, shape = _header(path)
    if owner != _owner(key, name.number):
        raise BrokenShardError("belongs to another entry, or elsewhere in this one")
    if kind != "F32" or len(shape) != 2 or shape != (rows, dim or shape[1]):
        raise BrokenShardError(f"holds {kind} {shape}, not F32 ({rows}, {dim or 'D'})")
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
    """Turns the operating system's errors into one that a user can act on.

    Args:
        verb: What is being done: ``read``, ``write`` or ``remove``.
        path: What it is done to.

    Raises:
        StoreError: An `OSError` came out of the block.
    """
    try:
        yield
    except OSError as error:
        what, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), "check the disk and the path"))
        raise StoreError(f"the feature store cannot {verb}: {what}", where=str(path), hint=hint) from error


def pretty_json(document: Mapping[str, Any]) -> bytes:
    """JSON for people, with sorted keys: equal documents give equal bytes."""
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _owner(key: str, number: int) -> str:
    return canonical_json({"key": key, "shard": number})


_FULL = "free some space, or run 'probebench store gc --max-size 5GB'; then run again"
_ELSEWHERE = "give --store a folder that you can write"
_REASONS = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EACCES: ("no permission", _ELSEWHERE),
    errno.EPERM: ("no permission", _ELSEWHERE),
    errno.EROFS: ("the file system is read-only", _ELSEWHERE),
    errno.ENOTDIR: ("the path runs through a file", _ELSEWHERE),
    errno.EEXIST: ("the path runs through a file", _ELSEWHERE),
}
