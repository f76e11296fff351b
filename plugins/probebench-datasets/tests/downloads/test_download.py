"""Downloads from a local server, which can break off, refuse or send something else."""

from __future__ import annotations

import hashlib
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from probebench.api import DataError
from probebench_datasets.downloads.download import CHUNK, download

CONTENT = bytes(range(256)) * 40 + b"the end"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@dataclass
class Served:
    """What the server sends, and the ranges that were requested."""

    url: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut: int | None = None
    status: int = 200
    requests: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested = self.headers.get("Range")
            served.requests.append(requested)
            if served.status != 200:
                self.send_error(served.status)
                return
            start, body = 0, served.content
            if requested and served.ranges:
                start = int(requested.removeprefix("bytes=").removesuffix("-"))
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


def test_a_download_is_complete_and_leaves_no_other_file(server, target):
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert files(target) == ["data.bin"]


def test_progress_ends_at_the_size_of_the_file(server, target):
    server.content = bytes(2 * CHUNK + 5)
    calls = []
    download(server.url, target, md5=md5(server.content), progress=lambda *values: calls.append(values))
    assert calls[0] == ("data.bin", 0, len(server.content))
    assert calls[-1] == ("data.bin", len(server.content), len(server.content))
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_an_existing_file_is_not_requested(server, target):
    for _ in range(2):
        download(server.url, target, md5=md5(CONTENT))
    assert server.requests == [None]


@pytest.mark.parametrize("ranges", [True, False], ids=["with ranges", "without ranges"])
def test_a_broken_connection_is_reported_and_resumed(server, target, ranges):
    server.cut, server.ranges = 1000, ranges
    with pytest.raises(
        DataError, match=r"broke after 1,000 of 10,247 bytes of data.bin\n.*\n.*same command again to resume"
    ):
        download(server.url, target, md5=md5(CONTENT))
    assert files(target) == ["data.bin.part"], "an incomplete file must not have the name of the complete one"
    server.cut = None
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.requests == [None, "bytes=1000-"]
    assert files(target) == ["data.bin"]


def test_a_complete_part_is_renamed(server, target):
    target.parent.mkdir()
    target.with_name("data.bin.part").write_bytes(CONTENT)
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"x" * 500, CONTENT + b"more"], ids=["of another file", "too long"])
def test_a_part_of_another_file_is_dropped(server, target, part):
    target.parent.mkdir()
    target.with_name("data.bin.part").write_bytes(part)
    download(server.url, target, md5=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(part)}-", None]


def test_a_download_with_a_wrong_checksum_is_deleted(server, target):
    with pytest.raises(DataError) as error:
        download(server.url, target, md5=md5(b"another"))
    assert f"its MD5 checksum is {md5(CONTENT)}, not {md5(b'another')}" in error.value.what
    assert error.value.where == server.url
    assert f"or copy the right file to {target}" in error.value.hint
    assert files(target) == []


def test_an_existing_file_with_a_wrong_checksum_is_named_and_kept(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"data\.bin is damaged or a different file") as error:
        download(server.url, target, md5=md5(CONTENT))
    assert error.value.where == str(target)
    assert error.value.hint == f"delete {target} and run the same command again"
    assert target.read_bytes() == CONTENT[:-1]
    assert server.requests == []


def test_a_refused_download_says_where_to_copy_the_file(server, target):
    server.status = 404
    with pytest.raises(DataError, match=r"data.bin cannot be downloaded: the server answers 404") as error:
        download(server.url, target, md5=md5(CONTENT))
    assert error.value.where == server.url
    assert f"copy the file (MD5 {md5(CONTENT)}) to {target} first" in error.value.hint


def test_no_network(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"data.bin cannot be downloaded: .*refused") as error:
        download(f"http://127.0.0.1:{port}/data.bin", target, md5=md5(CONTENT))
    assert str(target) in error.value.hint
    assert md5(CONTENT) in error.value.hint


def test_a_local_file_is_not_downloaded(target, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(DataError, match="is not a web address"):
        download(secret.as_uri(), target, md5=md5(CONTENT))


def test_a_folder_that_cannot_be_created(server, tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    with pytest.raises(DataError, match=r"data.bin cannot be written or read") as error:
        download(server.url, tmp_path / "file" / "data.bin", md5=md5(CONTENT))
    assert "PROBEBENCH_DATA" in error.value.hint
