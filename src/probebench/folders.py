"""Folders that are about to be written to."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from probebench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


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
