"""The cache of decoded images: one file for each set, complete or absent, and a size limit for all of them.

A file consists of a page of header, the pixels, a 16-byte digest of each image, and a SHA-256 of header and digests:

    page      "probebench decoded 1", key and shape as JSON, zeros up to 4096 bytes
    pixels    uint8 (N, 3, H, W)
    digests   uint8 (N, 16)
    checksum  32 bytes

Opening a file checks its length and its checksum, and reads no pixel. The reader of an image compares it with its
digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from probebench.api import DataError, UsageError
from probebench_datasets.images.arrays import image_digest
from probebench_datasets.paths import cache_root

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

LIMIT_VARIABLE: Final = "PROBEBENCH_CACHE_GB"
"""Environment variable: how much the decoded images of all datasets may take, in units of 10^9 bytes."""

DEFAULT_LIMIT_GB: Final = 20.0
DIGEST_BYTES: Final = 16
SUFFIX: Final = ".decoded"

_MAGIC = "probebench decoded 1"
_PAGE = 4096
_CHECKSUM_BYTES = 32
_ABANDONED = 24 * 3600.0
"""Seconds after which no process can still be writing a temporary file."""


@dataclass(frozen=True)
class DecodedArrays:
    """Decoded images and their digests.

    Attributes:
        pixels: uint8 ``(N, 3, H, W)``.
        digests: uint8 ``(N, 16)``, `image_digest` of each image.
        path: Their file; None where they are held in memory.
        mapped: That file, memory-mapped.
    """

    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    path: Path | None = None
    mapped: mmap.mmap | None = None


def folder() -> Path:
    """Returns the folder of the cache."""
    return cache_root() / "decoded"


def read(path: Path, key: str) -> DecodedArrays | None:
    """Opens a file of decoded images.

    Args:
        path: The file.
        key: The key that it must have.

    Returns:
        None when it cannot be opened, or is damaged: a damaged file is removed, with a warning.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        decoded = _parse(path, mapped, key)
    except OSError:  # it does not exist, or may not be read
        return None
    except (ValueError, KeyError, TypeError) as error:
        discard(path, str(error))
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the time of its last use, for `evict`; a read-only folder can still be read
    return decoded


def _parse(path: Path, mapped: mmap.mmap, key: str) -> DecodedArrays:
    """Raises ValueError, KeyError or TypeError unless the file is as it was written."""
    header = mapped[:_PAGE]
    magic, text = header.rstrip(b"\0").decode().split("\n")[:2]
    document = json.loads(text)
    count, channels, height, width = document["shape"]
    pixels = count * channels * height * width
    size = _PAGE + pixels + DIGEST_BYTES * count + _CHECKSUM_BYTES
    if magic != _MAGIC or document["key"] != key:
        raise ValueError("its header is that of another file")
    if len(mapped) != size:
        raise ValueError(f"it has {len(mapped)} bytes, not {size}")
    digests = mapped[_PAGE + pixels : -_CHECKSUM_BYTES]
    if hashlib.sha256(header + digests).digest() != mapped[-_CHECKSUM_BYTES:]:
        raise ValueError("its checksum is wrong")
    return DecodedArrays(
        np.frombuffer(mapped, np.uint8, pixels, offset=_PAGE).reshape(count, channels, height, width),
        np.frombuffer(digests, np.uint8).reshape(count, DIGEST_BYTES),
        path,
        mapped,
    )


def discard(path: Path, why: str) -> None:
    """Removes a damaged file with a warning; its images are decoded again when they are opened next."""
    warnings.warn(f"removed a damaged file of decoded images ({why}): {path}", UserWarning, stacklevel=2)
    with contextlib.suppress(OSError):
        path.unlink()


def write(path: Path, key: str, count: int, images: Iterable[NDArray[np.uint8]]) -> None:
    """Writes decoded images one by one, and renames the file to its path when it is complete.

    Several processes may write the same file at once: the files are identical, so the last one may replace the others.

    Args:
        path: The file.
        key: The key of its content.
        count: Number of images.
        images: uint8 ``(3, H, W)``, all of one shape.

    Raises:
        DataError: The images alone exceed the size limit of the cache.
        OSError: The folder cannot be written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            header, digests = b"", []
            for image in images:
                if not header:
                    _require_space(path, count * image.nbytes)
                    document = json.dumps({"key": key, "shape": [count, *image.shape]})
                    header = f"{_MAGIC}\n{document}\n".encode().ljust(_PAGE, b"\0")
                    file.write(header)
                file.write(image.tobytes())
                digests.append(image_digest(image))
            file.write(b"".join(digests))
            file.write(hashlib.sha256(header + b"".join(digests)).digest())
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp makes files that only their owner can read, and caches may be shared
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _require_space(path: Path, size: int) -> None:
    if size > size_limit():
        raise DataError(
            f"the decoded images take {size / 1e9:.1f} GB, and the limit of the cache is {size_limit() / 1e9:g} GB",
            where=str(path.parent),
            hint=f"set {LIMIT_VARIABLE}={size / 1e9 + 1:.0f}, or use a smaller image_size",
        )


def size_limit() -> float:
    """Returns the size limit of the cache in bytes.

    Raises:
        UsageError: The environment variable is not a number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        gigabytes = float(text or DEFAULT_LIMIT_GB)
    except ValueError:
        gigabytes = 0.0
    if not gigabytes > 0:
        raise UsageError(
            f"{LIMIT_VARIABLE}={text} is not a number above 0",
            where="environment",
            hint=f"set {LIMIT_VARIABLE}={DEFAULT_LIMIT_GB:g}",
        )
    return gigabytes * 1e9


def evict(keep: Path) -> None:
    """Deletes the least recently used files until the rest is within the size limit.

    A process that has a deleted file open continues to read it; the next one decodes the images again.

    Args:
        keep: The file that is in use here, which is never deleted.
    """
    files: list[tuple[float, int, Path]] = []
    for path in keep.parent.iterdir():
        with contextlib.suppress(OSError):  # another process has deleted it
            status = path.stat()
            if path.suffix != ".tmp":
                files.append((status.st_mtime, status.st_size, path))
            elif status.st_mtime < time.time() - _ABANDONED:
                path.unlink()
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= size_limit():
            return
        if path != keep:
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
