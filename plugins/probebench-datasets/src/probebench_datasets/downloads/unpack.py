"""Archives, opened with care: nothing is written outside the folder, and no file is seen before it is whole."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from probebench.api import DataError

if TYPE_CHECKING:
    from collections.abc import Callable


def unpack(archive: Path, folder: Path, *, progress: Callable[[str, int, int], None] | None = None) -> None:
    """Unpacks a tar archive, compressed or not, into a folder.

    All of it is unpacked beside its place first; then the files get their names one by one. Files that are there are
    replaced.

    Args:
        archive: The archive. Modes, owners and times in it are not taken over.
        folder: Where its files go, under the names they have in it. It is made if it is missing.
        progress: Called as ``progress(file name, bytes read, bytes of the archive)``.

    Raises:
        DataError: The archive is truncated or damaged, holds a link, a device or a path outside the folder, or the
            disk cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as name:
            place = Path(name)
            files = _extract(archive, place, progress)
            for file in files:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                (place / file).replace(target)
    except (tarfile.TarError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _broken(archive, error) from error
    except OSError as error:
        # gzip and lzma report damage as an OSError without a number; what the disk reports has one.
        if error.errno is None:
            raise _broken(archive, error) from error
        raise DataError(
            f"{archive.name} cannot be unpacked: {error.strerror}",
            where=str(folder),
            hint="free space or rights for it, or another folder: option root, or PROBEBENCH_DATA",
        ) from error


def _extract(archive: Path, place: Path, progress: Callable[[str, int, int], None] | None) -> list[Path]:
    """Extracts all regular files, and gives their paths below the place."""
    files: list[Path] = []
    size = archive.stat().st_size
    with archive.open("rb") as raw, tarfile.open(fileobj=raw) as tar:
        for member in tar:
            path = _checked(member, archive)
            if member.isdir():
                continue
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            if source is None:  # never for what `_checked` lets through
                raise _refused(member, archive)
            with source, (place / path).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            if os.path.getsize(place / path) != member.size:  # noqa: PTH202 - as short as the pathlib one
                raise EOFError(f"{member.name} is cut off")
            files.append(path)
            if progress:
                progress(archive.name, raw.tell(), size)
        # The checksum of a compressed archive stands at its very end, which tarfile has no reason to read.
        while tar.fileobj and tar.fileobj.read(1 << 20):
            pass
    return files


def _checked(member: tarfile.TarInfo, archive: Path) -> Path:
    """The member's path, if it is a file or folder inside."""
    path = PurePosixPath(member.name)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in member.name and ":" not in member.name
    if not inside or not (member.isreg() or member.isdir()):
        raise _refused(member, archive)
    return Path(*path.parts)


def _refused(member: tarfile.TarInfo, archive: Path) -> DataError:
    return DataError(
        f"{archive.name} holds {member.name!r}, which is no plain file inside its folder: nothing was unpacked",
        where=str(archive),
        hint="this is not the archive of the dataset: remove it and download it again",
    )


def _broken(archive: Path, error: Exception) -> DataError:
    return DataError(
        f"{archive.name} is truncated or damaged: {error}",
        where=str(archive),
        hint="remove it and download it again",
    )
