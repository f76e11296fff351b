"""Lists the image files and the folders in a folder, in an order that is the same on every file system."""

from __future__ import annotations

import os
import unicodedata
import warnings
from pathlib import Path, PurePath
from typing import Final

from PIL import Image

from probebench.api import DataError, ProbebenchWarning
from probebench_datasets.images.file_stamps import read_error

_SYSTEM_FILES: Final = frozenset({"thumbs.db", "desktop.ini"})
"""Files that file managers create. Like files whose names begin with a dot, they are ignored without a warning."""


def subfolders(folder: Path) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without hidden ones.

    Raises:
        DataError: The folder cannot be read, or a name is not valid text.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise read_error(folder, error) from error
    return sorted((_valid_text(name, folder) for name in names), key=normalized)


def warn_of_unsorted(folder: Path) -> None:
    """Warns of image files that are beside the folders of the classes, and so belong to no class."""
    suffixes = Image.registered_extensions()
    with os.scandir(folder) as entries:
        files = (entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
        unsorted = sorted(name for name in files if PurePath(name).suffix.lower() in suffixes)
    if unsorted:
        warnings.warn(
            f"ignored {counted(len(unsorted), 'image file')} outside the folders of the classes, such as "
            f"{folder / unsorted[0]}",
            ProbebenchWarning,
            stacklevel=4,
        )


def counted(number: int, noun: str) -> str:
    """Returns ``1 file`` or ``2 files``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def image_files_below(folder: Path) -> list[str]:
    """Returns the paths of all image files below a folder, relative to it, with slashes; sorted.

    A file with the suffix of an image format is taken to be an image until it is decoded.

    Raises:
        DataError: A folder cannot be read, or a name is not valid text.

    Warns:
        ProbebenchWarning: There are other files, or links to folders, which are ignored.
    """

    def stop(error: OSError) -> None:
        raise read_error(error.filename or folder, error) from error

    suffixes = Image.registered_extensions()
    images: list[str] = []
    others: list[str] = []
    links: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = (PurePath(parent).relative_to(folder).as_posix() + "/").removeprefix("./")
        links += [prefix + name for name in folders if (Path(parent) / name).is_symlink()]
        # Plain strings from here on: Path objects take five times as long, and there may be a million.
        for name in names:
            if name.startswith(".") or name.lower() in _SYSTEM_FILES:
                continue
            known = f".{name.rpartition('.')[2].lower()}" in suffixes
            (images if known else others).append(prefix + _valid_text(name, parent))
    if others:
        warnings.warn(
            f"ignored {counted(len(others), 'file')} without the suffix of an image format, such as "
            f"{folder / min(others)}",
            ProbebenchWarning,
            stacklevel=3,
        )
    if links:  # following a link to a parent folder would never end
        warnings.warn(
            f"ignored {counted(len(links), 'link')} to folders, such as {folder / min(links)}",
            ProbebenchWarning,
            stacklevel=3,
        )
    return sorted(images, key=normalized)


def normalized(name: str) -> str:
    """Returns a name in one form for all file systems: some store an accented letter as one character, some as two."""
    return unicodedata.normalize("NFC", name)


def _valid_text(name: str, folder: str | Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(
            f"the file name {name!r} is not valid Unicode text", where=str(folder), hint="rename the file"
        ) from None
    return name
