"""Decoded images on the disk: each set in one file that is whole or not there, all of them within a bound.

A file is a page of header, the pixels, a 16-byte digest of each image, and a SHA-256 sum over header and digests:

    page      "probebench decoded 1", key and shape as JSON, zeros up to 4096 bytes
    pixels    uint8 (N, 3, H, W)
    digests   uint8 (N, 16)
    sum       32 bytes

Opening a file checks its length and its sum, and reads no pixel; whoever reads an image compares it with its digest.
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

LIMIT: Final = "PROBEBENCH_CACHE_GB"
"""Environment variable: how much the decoded images of all datasets may take, in units of 10^9 bytes."""

DEFAULT_LIMIT_GB: Final = 20.0
DIGEST_BYTES: Final = 16
SUFFIX: Final = ".decoded"

_MAGIC = "probebench decoded 1"
_PAGE = 4096
_SUM_BYTES = 32
_ABANDONED = 24 * 3600.0
"""Seconds after which a temporary file has nobody any more who writes it."""


@dataclass(frozen=True)
class Decoded:
    """Decoded images.

    Attributes:
        pixels: uint8 ``(N, 3, H, W)``.
        digests: uint8 ``(N, 16)``, `image_digest` of each.
        path: The file they come from; None where they are held in memory.
        mapped: That file, mapped.
    """

    pixels: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    path: Path | None = None
    mapped: mmap.mmap | None = None


def folder() -> Path:
    """Where decoded images are kept."""
    return cache_root() / "decoded"


def read(path: Path, key: str) -> Decoded | None:
    """Opens a file of decoded images.

    Args:
        path: The file.
        key: What it has to hold.

    Returns:
        None when it cannot be opened, or is damaged: a damaged file is removed, with a warning.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        found = _checked(path, mapped, key)
    except OSError:  # it is not there, or is not ours to read
        return None
    except (ValueError, KeyError, TypeError) as error:
        discard(path, str(error))
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # the time of its last use, for `tidy`; a folder that cannot be written can still be read
    return found


def _checked(path: Path, mapped: mmap.mmap, key: str) -> Decoded:
    """Raises ValueError, KeyError or TypeError unless the file is what was written."""
    header = mapped[:_PAGE]
    magic, text = header.rstrip(b"\0").decode().split("\n")[:2]
    document = json.loads(text)
    count, channels, height, width = document["shape"]
    pixels = count * channels * height * width
    size = _PAGE + pixels + DIGEST_BYTES * count + _SUM_BYTES
    if magic != _MAGIC or document["key"] != key:
        raise ValueError("its header is another file's")
    if len(mapped) != size:
        raise ValueError(f"it has {len(mapped)} bytes, not {size}")
    digests = mapped[_PAGE + pixels : -_SUM_BYTES]
    if hashlib.sha256(header + digests).digest() != mapped[-_SUM_BYTES:]:
        raise ValueError("its checksum is wrong")
    return Decoded(
        np.frombuffer(mapped, np.uint8, pixels, offset=_PAGE).reshape(count, channels, height, width),
        np.frombuffer(digests, np.uint8).reshape(count, DIGEST_BYTES),
        path,
        mapped,
    )


def discard(path: Path, why: str) -> None:
    """Removes a damaged file, and says so: the images are decoded anew when they are opened next."""
    warnings.warn(f"removed a damaged file of decoded images ({why}): {path}", UserWarning, stacklevel=2)
    with contextlib.suppress(OSError):
        path.unlink()


def write(path: Path, key: str, count: int, images: Iterable[NDArray[np.uint8]]) -> None:
    """Writes decoded images as they come, and puts the file in its place when it is whole.

    Several processes may write the same file at once: it is the same whoever comes last.

    Args:
        path: The file.
        key: What it holds.
        count: Number of images.
        images: uint8 ``(3, H, W)``, all of one shape.

    Raises:
        DataError: The images alone are larger than the cache may be.
        OSError: The folder cannot be written, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            header, digests = b"", []
            for image in images:
                if not header:
                    _require_room(path, count * image.nbytes)
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


def _require_room(path: Path, size: int) -> None:
    if size > limit():
        raise DataError(
            f"the decoded images take {size / 1e9:.1f} GB, the cache may have {limit() / 1e9:g} GB",
            where=str(path.parent),
            hint=f"a smaller image_size, or {LIMIT}={size / 1e9 + 1:.0f}",
        )


def limit() -> float:
    """The bound of the folder in bytes.

    Raises:
        UsageError: The environment variable is no number above 0.
    """
    text = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(text or DEFAULT_LIMIT_GB)
    except ValueError:
        gigabytes = 0.0
    if not gigabytes > 0:
        raise UsageError(f"{LIMIT}={text} is no number above 0", hint=f"{LIMIT}={DEFAULT_LIMIT_GB:g}")
    return gigabytes * 1e9


def tidy(keep: Path) -> None:
    """Deletes the files that were used longest ago until the rest is within the bound.

    A process that has a deleted file open reads on from it; the next one decodes again.

    Args:
        keep: The file that is in use here, which stays.
    """
    used: list[tuple[float, int, Path]] = []
    for path in keep.parent.iterdir():
        with contextlib.suppress(OSError):  # another process was faster
            found = path.stat()
            if path.suffix != ".tmp":
                used.append((found.st_mtime, found.st_size, path))
            elif found.st_mtime < time.time() - _ABANDONED:
                path.unlink()
    total = sum(size for _, size, _ in used)
    for _, size, path in sorted(used):
        if total <= limit():
            return
        if path != keep:
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
