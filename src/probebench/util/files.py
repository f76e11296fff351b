"""Files that are written whole or not at all, and folders that are about to be written to."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that no reader ever sees half of it, and a crash leaves the old one or the new one.

    Missing folders are made.

    Raises:
        OSError: The disk is full, the folder cannot be written, or the path runs through a file.
    """
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to that takes the path's place when the block ends; an exception leaves what was there.

    The bytes go to a temporary name in the same folder, are synced to the disk, and the name is changed; the
    folder is synced too, because the new name lives there. Missing folders are made.

    Raises:
        OSError: The disk is full, the folder cannot be written, or the path runs through a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read; results are shared
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows has no handles of folders, and syncs names by itself
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_writable(folder: Path, option: str) -> None:
    """Makes a folder if it is missing, and tries whether files can be written to it: before hours of work, not after.

    Args:
        folder: Where files will go.
        option: What the user gave it with, such as ``--out``.

    Raises:
        UsageError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # its name is its own: another process may try at the same time
            pass
    except OSError as error:
        raise UsageError(
            f"cannot write there: {error.strerror}", where=f"{option} {folder}", hint=f"another folder for {option}"
        ) from error
