"""Files from the network: resumed where they broke off, and under their name only when their checksum is right."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from probebench.api import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[str, int, int], None]
    """Called as ``progress(file name, bytes that are there, bytes in all)``; the last is 0 where nobody knows."""

CHUNK = 1 << 20

_TIMEOUT = 60.0
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def file_md5(path: Path) -> str:
    """MD5 of a file, in hexadecimal; that is what datasets are published with."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download(url: str, target: Path, *, md5: str, progress: Progress | None = None) -> None:
    """Makes sure that a file is there and is the right one.

    What is there already and right is left alone. What arrives goes to ``<name>.part`` beside the target, where the
    next call goes on after an interruption, and gets its own name once its checksum is right.

    Args:
        url: ``https``, or ``http``; the checksum guards both.
        target: Where the file is wanted. Missing folders are made.
        md5: Its checksum, in hexadecimal.
        progress: Told how far it is.

    Raises:
        DataError: A file of that name is there and is another one, the server cannot be reached, the connection broke,
            the checksum is wrong, or the disk cannot be written.
    """
    try:
        if target.exists():
            if (found := file_md5(target)) != md5:
                raise DataError(
                    f"{target.name} is damaged or another file: its md5 is {found}, not {md5}",
                    where=str(target),
                    hint="move it away and run the same command again",
                )
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        resumed = _receive(url, target, part, md5, progress or _silent)
        if (found := file_md5(part)) != md5 and resumed:  # the first half may be of another version of the file
            part.unlink()
            _receive(url, target, part, md5, progress or _silent)
            found = file_md5(part)
        if found != md5:
            part.unlink()
            raise DataError(
                f"the checksum of {target.name} is wrong: its md5 is {found}, not {md5}; it was thrown away",
                where=url,
                hint=f"run the same command again, or put the right file at {target}",
            )
        part.replace(target)
    except OSError as error:
        raise DataError(
            f"{target.name} cannot be written or read: {error.strerror or error}",
            where=str(target.parent),
            hint="free space or rights for it, or another folder: option root, or PROBEBENCH_DATA",
        ) from error


def _receive(url: str, target: Path, part: Path, md5: str, progress: Progress) -> bool:
    """Fills the partial file up; True when it began with what an earlier call left."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url} is no address to download from", hint="https://...")
    offset = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "probebench", "Accept-Encoding": "identity"})  # noqa: S310 - see above
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            return True  # nothing is missing, or it is longer than the file: the checksum tells
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
            hint="run the same command again: it goes on from there",
        )
    return start > 0


def _extent(response: http.client.HTTPResponse) -> tuple[int, int]:
    """First byte that is sent, and length of the whole file: 0 where it is not said."""
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match:
            return int(match[1]), 0 if match[2] == "*" else int(match[2])
        return -1, 0
    return 0, int(response.headers.get("Content-Length") or 0)


def _copy(response: http.client.HTTPResponse, file: BinaryIO, start: int, progress: Callable[[int], None]) -> int:
    """Copies what arrives, and says how long the file is now. A broken connection ends it, like the end of the file."""
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
        hint=f"the same command again; or fetch it by other means (md5 {md5}), put it at {target}, and run the same",
    )


def _silent(_name: str, _done: int, _total: int) -> None:
    """Tells nobody."""
