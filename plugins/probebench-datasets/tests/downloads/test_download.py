"""Downloads from a server on this machine, which can be slow, rude or wrong; and archives that mean harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from probebench.api import DataError
from probebench_datasets.downloads.download import CHUNK, download, file_md5
from probebench_datasets.downloads.unpack import unpack

CONTENT = bytes(range(256)) * 40 + b"the end"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@dataclass
class Served:
    """What the server says, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut: int | None = None
    status: int = 200
    asked: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            served.asked.append(wanted)
            if served.status != 200:
                self.send_error(served.status)
                return
            start, body = 0, served.content
            if wanted and served.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : served.cut])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        served.url = f"http://127.0.0.1:{http.server_port}/data.bin"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        http.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "data.bin"


def files(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_download_is_whole_and_leaves_nothing_else(server, target):
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert files(target) == ["data.bin"]


def test_progress_goes_from_what_is_there_to_the_whole(server, target):
    server.content = bytes(2 * CHUNK + 5)
    told = []
    download(server.url, target, md5=md5(server.content), progress=lambda *values: told.append(values))
    assert told[0] == ("data.bin", 0, len(server.content))
    assert told[-1] == ("data.bin", len(server.content), len(server.content))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_what_is_there_is_not_asked_for(server, target):
    for _ in range(2):
        download(server.url, target, md5=md5(CONTENT))
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
def test_a_broken_connection_is_told_and_resumed(server, target, ranges):
    server.cut, server.ranges = 1000, ranges
    with pytest.raises(DataError, match=r"connection broke after 1,000 of 10,247 bytes of data.bin\n.*\n.*goes on"):
        download(server.url, target, md5=md5(CONTENT))
    assert files(target) == ["data.bin.part"], "half a file must not have the name of a whole one"
    server.cut = None
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000-"]
    assert files(target) == ["data.bin"]


def test_a_part_that_is_complete_needs_no_more_than_its_name(server, target):
    target.parent.mkdir()
    target.with_name("data.bin.part").write_bytes(CONTENT)
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 500, CONTENT + b"more"], ids=["of another file", "too long"])
def test_a_part_that_does_not_fit_is_dropped(server, target, part):
    target.parent.mkdir()
    target.with_name("data.bin.part").write_bytes(part)
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(part)}-", None]


def test_a_wrong_checksum_is_told_and_kept_from_its_name(server, target):
    with pytest.raises(DataError) as error:
        download(server.url, target, md5=md5(b"another"))
    assert f"its md5 is {md5(CONTENT)}, not {md5(b'another')}" in error.value.what
    assert error.value.where == server.url
    assert f"or put the right file at {target}" in error.value.hint
    assert files(target) == []


def test_a_file_that_is_there_and_wrong_is_named_and_left(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"data\.bin is damaged or another file") as error:
        download(server.url, target, md5=md5(CONTENT))
    assert error.value.where == str(target)
    assert "move it away" in error.value.hint
    assert target.read_bytes() == CONTENT[:-1]
    assert server.asked == []


def test_what_the_server_refuses_says_how_to_do_it_by_hand(server, target):
    server.status = 404
    with pytest.raises(DataError, match=r"data.bin cannot be downloaded: the server answers 404") as error:
        download(server.url, target, md5=md5(CONTENT))
    assert error.value.where == server.url
    assert f"(md5 {md5(CONTENT)}), put it at {target}" in error.value.hint


def test_no_network(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"data.bin cannot be downloaded: .*refused") as error:
        download(f"http://127.0.0.1:{port}/data.bin", target, md5=md5(CONTENT))
    assert str(target) in error.value.hint
    assert md5(CONTENT) in error.value.hint


def test_a_file_of_this_machine_is_no_download(target, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(DataError, match="is no address to download from"):
        download(secret.as_uri(), target, md5=md5(CONTENT))


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(DataError, match=r"data.bin cannot be written or read") as error:
        download(server.url, tmp_path / "file" / "data.bin", md5=md5(CONTENT))
    assert "PROBEBENCH_DATA" in error.value.hint


def archive(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            if isinstance(name, str):
                name = tarfile.TarInfo(name)
                name.size = len(content)
            tar.addfile(name, io.BytesIO(content))
    return path


@pytest.mark.parametrize("mode", ["w:gz", "w", "w:bz2", "w:xz"])
def test_an_archive_is_unpacked(tmp_path, mode):
    told = []
    packed = archive(tmp_path / "a.tar", [("set/one", b"1" * 9000), ("set/deep/two", b"2")], mode)
    unpack(packed, tmp_path / "out", progress=lambda *values: told.append(values))
    found = {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    found |= {name: (tmp_path / "out" / name).read_bytes() for name in ("set/one", "set/deep/two")}
    assert found == {"set/one": b"1" * 9000, "set/deep/two": b"2"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["set"]
    assert {(name, total) for name, _, total in told} == {("a.tar", packed.stat().st_size)}


def test_files_that_are_there_are_replaced(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "one").write_bytes(b"old")
    (tmp_path / "set" / "mine").write_bytes(b"mine")
    unpack(archive(tmp_path / "a.tgz", [("set/one", b"new")]), tmp_path)
    assert (tmp_path / "set" / "one").read_bytes() == b"new"
    assert (tmp_path / "set" / "mine").read_bytes() == b"mine"


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        "../evil",
        "set/../../evil",
        "/tmp/evil",
        "C:\\evil",
        "set\\..\\..\\evil",
        link("set/evil", "/etc/passwd", tarfile.SYMTYPE),
        link("set/evil", "../../evil", tarfile.LNKTYPE),
        link("set/evil", "", tarfile.FIFOTYPE),
        link("set/evil", "", tarfile.CHRTYPE),
    ],
    ids=["up", "up from within", "absolute", "drive", "backslashes", "symlink", "hard link", "fifo", "device"],
)
def test_an_archive_that_reaches_outside_is_refused_whole(tmp_path, member):
    packed = archive(
        tmp_path / "a.tgz", [("set/good", b"good"), (member, b"" if not isinstance(member, str) else b"x")]
    )
    with pytest.raises(DataError, match="no plain file inside its folder: nothing was unpacked") as error:
        unpack(packed, tmp_path / "out")
    assert error.value.where == str(packed)
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "out"]


@pytest.mark.parametrize("mode", ["w:gz", "w", "w:bz2", "w:xz"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_named_with_the_remedy(tmp_path, mode, keep):
    noise = hashlib.shake_256(b"noise").digest(200_000)
    packed = archive(tmp_path / "a.tar", [("set/one", noise)], mode)
    packed.write_bytes(packed.read_bytes()[: int(keep * packed.stat().st_size)])
    with pytest.raises(DataError, match=r"a\.tar is truncated or damaged") as error:
        unpack(packed, tmp_path / "out")
    assert error.value.where == str(packed)
    assert error.value.hint == "remove it and download it again"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_archive_is_named(tmp_path):
    packed = archive(tmp_path / "a.tgz", [("set/one", hashlib.shake_256(b"noise").digest(200_000))])
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 0xFF
    packed.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tgz is truncated or damaged"):
        unpack(packed, tmp_path / "out")


def test_text_is_no_archive(tmp_path):
    page = tmp_path / "a.tgz"
    page.write_bytes(gzip.compress(b"<html>not found</html>"))
    with pytest.raises(DataError, match=r"a\.tgz is truncated or damaged"):
        unpack(page, tmp_path / "out")


def test_the_md5_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert file_md5(tmp_path / "file") == md5(CONTENT)
