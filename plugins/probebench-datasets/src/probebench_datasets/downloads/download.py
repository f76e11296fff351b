"""Downloads that resume after an interruption. A file gets its name only when its checksum is right."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from probebench.api import DataError
from probebench_datasets.downloads.checksums import file_md5, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[str, int, int], None]
    """Called as ``progress(file name, bytes received, bytes in total)``; the last is 0 where it is unknown."""

CHUNK = 1 << 20

_TIMEOUT = 60.0
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def download(url: str, target: Path, *, md5: str, progress: Progress | None = None) -> None:
    """Downloads a file, unless it exists with the right checksum.

    Received bytes are written to ``<name>.part`` beside the target, from which the next call resumes after an
    interruption. The part is renamed to the target once its checksum is right.

    Args:
        url: ``https``, or ``http``; the checksum protects both.
        target: Path of the file. Missing folders are created.
        md5: The expected checksum, in hexadecimal.
        progress: Called while bytes arrive.

    Raises:
        DataError: The target exists with another checksum, the server cannot be reached, the connection broke, the
            received file has another checksum, or the disk cannot be written.
    """
    try:
        if target.exists():
            if (actual := file_md5(target)) != md5:
                raise mismatch(target, actual, md5, hint=f"delete {target} and run the same command again")
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        resumed = _receive(url, target, part, md5, progress or _no_progress)
        if (actual := file_md5(part)) != md5 and resumed:  # the first half may be of another version of the file
            part.unlink()
            _receive(url, target, part, md5, progress or _no_progress)
            actual = file_md5(part)
        if actual != md5:
            part.unlink()
            raise DataError(
                f"the download of {target.name} was deleted: its MD5 checksum is {actual}, not {md5}",
                where=url,
                hint=f"run the same command again, or copy the right file to {target}",
            )
        part.replace(target)
    except OSError as error:
        raise DataError(
            f"{target.name} cannot be written or read: {error.strerror or error}",
            where=str(target.parent),
            hint="set PROBEBENCH_DATA, or the dataset's option root, to a writable folder with enough space",
        ) from error


def _receive(url: str, target: Path, part: Path, md5: str, progress: Progress) -> bool:
    """Completes the partial file; returns whether it began with bytes of an earlier call."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url} is not a web address", hint="use an address that begins with https://")
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "probebench", "Accept-Encoding": "identity"})  # noqa: S310 - see above
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return True  # the part is complete, or longer than the file: its checksum decides
        raise _unreachable(f"the server answers {error.code} {error.reason}", url, target, md5) from error
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _unreachable(str(reason), url, target, md5) from error
    with response:
        start, total = _extent(response)
        if start not in (0, offset):
            raise _unreachable(f"the server sends from byte {start}, not {offset}", url, target, md5)
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            done = _copy(response, file, start, lambda count: progress(target.name, count, total))
    if total and done < total:
        raise DataError(
            f"the connection broke after {done:,} of {total:,} bytes of {target.name}",
            where=url,
            hint="run the same command again to resume",
        )
    return start > 0


def _extent(response: http.client.HTTPResponse) -> tuple[int, int]:
    """Returns the position of the first byte that is sent, and the length of the whole file: 0 where it is unknown."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match:
            return int(match[1]), 0 if match[2] == "*" else int(match[2])
        return -1, 0
    return 0, int(response.headers.get("Content-Length") or 0)


def _copy(response: http.client.HTTPResponse, file: BinaryIO, start: int, progress: Callable[[int], None]) -> int:
    """Copies bytes until the end of the file or of the connection, and returns the length of the file."""
    done = start
    progress(done)
    while True:
        try:
            chunk = response.read(CHUNK)
        except http.client.IncompleteRead as error:
            chunk = error.partial
        except (TimeoutError, ConnectionError, http.client.HTTPException):
            chunk = b""
        if not chunk:
            return done
        file.write(chunk)
        done += len(chunk)
        progress(done)


def _unreachable(why: str, url: str, target: Path, md5: str) -> DataError:
    return DataError(
        f"{target.name} cannot be downloaded: {why}",
        where=url,
        hint=f"run the same command again, or copy the file (MD5 {md5}) to {target} first",
    )


def _no_progress(_name: str, _done: int, _total: int) -> None:
    """Ignores the progress."""
