"""Pictures that are files of their own, and folders of them."""

from __future__ import annotations

import os
import unicodedata
import warnings
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from PIL import Image

from probebench.api import DataError, ProbebenchWarning
from probebench_datasets.images.encoded_images import Pictures
from probebench_datasets.images.file_stamps import unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})
"""What file managers leave behind, as they do files whose names begin with a dot."""


class FilePictures(Pictures):
    """One picture a file.

    Args:
        files: Absolute paths, in the order of the images.
    """

    layout = "files"

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def where(self, index: int) -> str:
        """The file."""
        return self.files[index]

    def read(self, index: int) -> bytes:
        """The whole file."""
        try:
            return Path(self.files[index]).read_bytes()
        except OSError as error:
            raise unreadable(self.files[index], error) from error


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted; without hidden ones.

    Raises:
        DataError: It cannot be read, or a name is no text.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        raise unreadable(folder, error) from error
    return sorted((_text(name, folder) for name in names), key=spelt)


def warn_of_loose(folder: Path) -> None:
    """Warns of pictures that lie beside the classes' folders, in none of them."""
    suffixes = Image.registered_extensions()
    with os.scandir(folder) as entries:
        files = (entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
        loose = sorted(name for name in files if PurePath(name).suffix.lower() in suffixes)
    if loose:
        warnings.warn(
            f"left out {counted(len(loose), 'picture')} beside the classes' folders, such as {folder / loose[0]}",
            ProbebenchWarning,
            stacklevel=4,
        )


def counted(number: int, thing: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def pictures_below(folder: Path) -> list[str]:
    """Paths of the pictures in a folder and in the folders within it, from the folder on, with slashes; sorted.

    What has the suffix of a picture is taken for one; whether it is one turns out when it is decoded.

    Raises:
        DataError: A folder cannot be read, or a name is no text.

    Warns:
        ProbebenchWarning: Other files are there, or links to folders, which are left out.
    """

    def stop(error: OSError) -> None:
        raise unreadable(error.filename or folder, error) from error

    suffixes = Image.registered_extensions()
    found: list[str] = []
    others: list[str] = []
    links: list[str] = []
    for place, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = (PurePath(place).relative_to(folder).as_posix() + "/").removeprefix("./")
        links += [below + name for name in folders if (Path(place) / name).is_symlink()]
        # Plain strings from here on: paths as objects take five times as long, and there may be a million.
        for name in names:
            if name.startswith(".") or name.lower() in _LITTER:
                continue
            known = f".{name.rpartition('.')[2].lower()}" in suffixes
            (found if known else others).append(below + _text(name, place))
    if others:
        warnings.warn(
            f"left out {counted(len(others), 'file')} without the suffix of a picture, such as {folder / min(others)}",
            ProbebenchWarning,
            stacklevel=3,
        )
    if links:  # followed, a link upwards would never end
        warnings.warn(
            f"left out {counted(len(links), 'link')} to folders, such as {folder / min(links)}",
            ProbebenchWarning,
            stacklevel=3,
        )
    return sorted(found, key=spelt)


def spelt(name: str) -> str:
    """A name as it is on all file systems: some keep an accented letter as one character, some as two."""
    return unicodedata.normalize("NFC", name)


def _text(name: str, folder: str | Path) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"the name {name!r} is no text", where=str(folder), hint="rename it") from None
    return name
