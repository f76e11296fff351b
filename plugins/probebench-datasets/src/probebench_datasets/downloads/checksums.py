"""Checksums of files, taken once: as long as size and time of a file stay, its checksum is remembered."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

from probebench.api import DataError
from probebench_datasets.downloads.download import file_md5
from probebench_datasets.paths import cache_root

_SETTLED = 2_000_000_000
"""Nanoseconds; no file system in use has a coarser clock."""


def require(path: Path, md5: str, *, remedy: str) -> None:
    """Raises an error unless a file has a checksum.

    Reading a file costs seconds, a look at its size and its times costs nothing; so what was found for these is kept in
    the user's cache, except for files written just now: where clocks are coarse they might change without a trace.

    Args:
        path: The file.
        md5: What it should have, in hexadecimal.
        remedy: What to do about another one.

    Raises:
        DataError: It has another one, or cannot be read.
    """
    try:
        found = _remembered(path)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read: {error.strerror}", where=str(path), hint=remedy) from error
    if found != md5:
        raise DataError(
            f"{path.name} is damaged or another file: its md5 is {found}, not {md5}", where=str(path), hint=remedy
        )


def _remembered(path: Path) -> str:
    path = path.resolve()
    status = path.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    state = {"path": str(path), "size": status.st_size, "times": list(times)}
    note = cache_root() / "checksums" / (hashlib.sha256(str(path).encode()).hexdigest()[:32] + ".json")
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if isinstance(known, dict) and isinstance(known.get("md5"), str) and known | state == known:
            return str(known["md5"])
    found = file_md5(path)
    if max(times) < time.time_ns() - _SETTLED:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            _write(note, json.dumps(state | {"md5": found}))
    return found


def _write(path: Path, text: str) -> None:
    """Writes a small file under a temporary name first: other processes read it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).replace(path)
