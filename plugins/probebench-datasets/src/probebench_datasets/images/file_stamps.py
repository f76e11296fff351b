"""What is known of files without reading them: like git's index, so that sixty thousand are not read at every start."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from probebench.api import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SETTLED = 2_000_000_000
"""Nanoseconds; no file system in use has a coarser clock."""


@dataclass(frozen=True)
class Stamp:
    """What the file system says of some files.

    Attributes:
        name: A digest of paths, sizes and times.
        settled: Whether the files were last changed more than two seconds ago. Of others nothing is remembered: where
            clocks are coarse they might be changed again without a trace.
    """

    name: str
    settled: bool


def stamp(files: Sequence[str]) -> Stamp:
    """Asks the file system.

    What is trusted: a file with the same path, size, ``mtime`` and ``ctime`` (in nanoseconds) has the same content.

    Args:
        files: Absolute paths, in the order of the images.

    Raises:
        DataError: A file cannot be looked at.
    """
    total, newest = hashlib.sha256(), 0
    for file in files:
        try:
            found = os.stat(file)  # noqa: PTH116 - a third faster than Path.stat, and there may be a million
        except OSError as error:
            raise unreadable(file, error) from error
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        total.update(os.fsencode(file) + f"\0{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n".encode())
    return Stamp(total.hexdigest(), newest < time.time_ns() - _SETTLED)


def content(files: Sequence[str]) -> str:
    """SHA-256 in hexadecimal over the content of all files, in their order; reads them.

    Raises:
        DataError: A file cannot be read.
    """
    total = hashlib.sha256()
    for path in map(Path, files):
        try:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise unreadable(path, error) from error
    return total.hexdigest()


def recall(folder: Path, stamp: Stamp) -> str | None:
    """The `content` that was remembered for a stamp."""
    try:
        text = (folder / f"{stamp.name}.content").read_text("ascii")
    except (OSError, ValueError):
        return None
    return text if len(text) == 64 and text.isalnum() else None


def remember(folder: Path, stamp: Stamp, content: str) -> None:
    """Keeps the `content` of a stamp; where nothing can be written, the files are read again next time."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stamp.name}.content").write_text(content, "ascii")


def unreadable(path: str | Path, error: OSError) -> DataError:
    """The error for a file or folder that the system does not let us read."""
    return DataError(
        f"cannot be read: {error.strerror or error}",
        where=os.fspath(path),
        hint="restore it, or correct its permissions",
    )
