"""Writes files atomically, and checks that folders can be written to."""

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
    """Writes a file atomically: readers and crashes see the old file or the new one, and never a part of it.

    Missing folders are created.

    Raises:
        OSError: The disk is full, the folder cannot be written to, or a parent of the path is a file.
    """
    with open_atomic(path) as file:
        file.write(data)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file for writing that replaces the path when the block ends. An exception keeps the old file.

    The bytes are written to a temporary file in the same folder and synced to the disk, and the file is renamed. Then
    the folder is synced, because it holds the name. Missing folders are created.

    Raises:
        OSError: The disk is full, the folder cannot be written to, or a parent of the path is a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp creates files that only their owner can read, but results are shared
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open folders, and syncs names without a request
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_writable(folder: Path, option: str) -> None:
    """Creates a folder if it is missing, and checks before the work starts that files can be written to it.

    Args:
        folder: The folder of the files.
        option: The option that names it, such as ``--out``.

    Raises:
        UsageError: No files can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a unique name: another process may check at the same time
            pass
    except OSError as error:
        raise UsageError(
            f"the folder cannot be written to: {error.strerror}",
            where=f"{option} {folder}",
            hint=f"give {option} a folder in which you may create files",
        ) from error
