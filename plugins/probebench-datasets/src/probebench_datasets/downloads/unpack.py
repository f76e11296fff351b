"""Unpacks archives: nothing is written outside the folder, and no file gets its name before it is complete."""

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

    The whole archive is unpacked into a temporary folder first; then its files are renamed one by one. Existing files
    are replaced.

    Args:
        archive: The archive. Modes, owners and times in it are ignored.
        folder: Where its files are written, under their names in the archive. It is created if it is missing.
        progress: Called as ``progress(file name, bytes read, bytes of the archive)``.

    Raises:
        DataError: The archive is truncated or damaged, holds a link, a device or a path outside the folder, or the
            disk cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as name:
            temporary = Path(name)
            files = _extract(archive, temporary, progress)
            for file in files:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                (temporary / file).replace(target)
    except (tarfile.TarError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        # gzip and lzma report damage as an OSError without a number; errors of the disk have one.
        if error.errno is None:
            raise _damaged(archive, error) from error
        raise DataError(
            f"{archive.name} cannot be unpacked: {error.strerror}",
            where=str(folder),
            hint="set PROBEBENCH_DATA, or the dataset's option root, to a writable folder with enough space",
        ) from error


def _extract(archive: Path, folder: Path, progress: Callable[[str, int, int], None] | None) -> list[Path]:
    """Extracts all regular files, and returns their paths relative to the folder."""
    files: list[Path] = []
    size = archive.stat().st_size
    with archive.open("rb") as raw, tarfile.open(fileobj=raw) as tar:
        for member in tar:
            path = _safe_path(member, archive)
            if member.isdir():
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            if source is None:  # never for a member that `_safe_path` accepts
                raise _refused(member, archive)
            with source, (folder / path).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            if os.path.getsize(folder / path) != member.size:  # noqa: PTH202 - as short as the pathlib one
                raise EOFError(f"{member.name} is incomplete")
            files.append(path)
            if progress:
                progress(archive.name, raw.tell(), size)
        # The checksum of a compressed archive is at its very end, which tarfile does not read.
        while tar.fileobj and tar.fileobj.read(1 << 20):
            pass
    return files


def _safe_path(member: tarfile.TarInfo, archive: Path) -> Path:
    """Returns the path of a member that is a regular file or folder inside the archive's folder."""
    path = PurePosixPath(member.name)
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in member.name and ":" not in member.name
    if not inside or not (member.isreg() or member.isdir()):
        raise _refused(member, archive)
    return Path(*path.parts)


def _refused(member: tarfile.TarInfo, archive: Path) -> DataError:
    return DataError(
        f"{archive.name} was not unpacked: {member.name!r} in it is not a regular file inside its folder",
        where=str(archive),
        hint=f"delete {archive} and run the same command again",
    )


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(
        f"{archive.name} is truncated or damaged: {error}",
        where=str(archive),
        hint=f"delete {archive} and run the same command again",
    )
