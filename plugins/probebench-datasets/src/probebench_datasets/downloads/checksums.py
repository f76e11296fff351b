"""MD5 checksums of files, which are computed again only when the size or the times of a file change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from probebench.api import DataError
from probebench_datasets.paths import cache_root

_SETTLED = 2_000_000_000
"""Nanoseconds after which a change of a file is visible in its times: no file system in use has a coarser clock."""


def file_md5(path: Path) -> str:
    """Computes the MD5 checksum of a file, in hexadecimal: what datasets are published with."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def verify(path: Path, md5: str, *, hint: str) -> None:
    """Raises an error unless a file has the expected checksum.

    Reading a large file takes seconds, reading its size and times takes none. The computed checksum is therefore kept
    in the user's cache together with them. Files that were just written are an exception: where the clock of the file
    system is coarse, a second change could leave size and times as they are.

    Args:
        path: The file.
        md5: The expected checksum, in hexadecimal.
        hint: What the user can do about a file with another checksum.

    Raises:
        DataError: The file has another checksum, or cannot be read.
    """
    try:
        actual = _cached_md5(path)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    if actual != md5:
        raise mismatch(path, actual, md5, hint=hint)


def mismatch(path: Path, actual: str, expected: str, *, hint: str) -> DataError:
    """Returns the error for a file with another checksum than the published one."""
    return DataError(
        f"{path.name} is damaged or a different file: its MD5 checksum is {actual}, not {expected}",
        where=str(path),
        hint=hint,
    )


def _cached_md5(path: Path) -> str:
    path = path.resolve()
    status = path.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    state = {"path": str(path), "size": status.st_size, "times": list(times)}
    entry = cache_root() / "checksums" / (hashlib.sha256(str(path).encode()).hexdigest()[:32] + ".json")
    with contextlib.suppress(OSError, ValueError):
        cached = json.loads(entry.read_text(encoding="utf-8"))
        if isinstance(cached, dict) and isinstance(cached.get("md5"), str) and cached | state == cached:
            return str(cached["md5"])
    md5 = file_md5(path)
    if max(times) < time.time_ns() - _SETTLED:
        with contextlib.suppress(OSError):  # without a writable cache, the checksum is computed again next time
            _write(entry, json.dumps(state | {"md5": md5}))
    return md5


def _write(path: Path, text: str) -> None:
    """Writes a small file under a temporary name first, because other processes may read it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
