"""Checksums: computed once for each state of a file, and again when the cache cannot be used."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest

from probebench.api import DataError
from probebench_datasets.downloads import checksums
from probebench_datasets.downloads.checksums import file_md5, verify

CONTENT = b"content"
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


@pytest.fixture
def settled(monkeypatch):
    """Makes files that were just written count as old."""
    monkeypatch.setattr(checksums, "_SETTLED", -(10**18))


@pytest.fixture
def reads(monkeypatch):
    """Returns the names of files whose checksum was computed by reading them."""
    names = []
    monkeypatch.setattr(checksums, "file_md5", lambda path: (names.append(path.name), file_md5(path))[1])
    return names


def test_the_md5_of_a_file(file):
    assert file_md5(file) == MD5


def test_a_checksum_is_computed_once(file, settled, reads):
    for _ in range(3):
        verify(file, MD5, hint="")
    assert reads == ["file"]
    file.write_bytes(b"CONTENT")
    with pytest.raises(DataError, match="file is damaged or a different file"):
        verify(file, MD5, hint="")
    assert reads == ["file", "file"]


@pytest.mark.parametrize(("age", "count"), [(0, 2), (1_999_999_999, 2), (2_000_000_001, 1)])
def test_the_checksum_of_a_file_written_within_two_seconds_is_not_kept(file, reads, monkeypatch, age, count):
    newest = max(file.stat().st_mtime_ns, file.stat().st_ctime_ns)
    monkeypatch.setattr(checksums, "time", SimpleNamespace(time_ns=lambda: newest + age))
    for _ in range(2):
        verify(file, MD5, hint="")
    assert reads == ["file"] * count


@pytest.mark.parametrize("entry", [b"", b"[]", b"{}", b'{"md5": 5}', b"\xff"])
def test_a_damaged_cache_entry_is_ignored(file, settled, reads, cache_folder, entry):
    verify(file, MD5, hint="")
    (path,) = (cache_folder / "checksums").iterdir()
    path.write_bytes(entry)
    verify(file, MD5, hint="")
    assert reads == ["file", "file"]


def test_without_a_writable_cache_checksums_are_computed_again(file, settled, reads, cache_folder):
    cache_folder.write_bytes(b"a file in place of the folder")
    for _ in range(2):
        verify(file, MD5, hint="")
    assert reads == ["file", "file"]


def test_a_file_that_does_not_exist(tmp_path):
    with pytest.raises(DataError, match=r"file cannot be read: No such file(?s:.)*try: download it"):
        verify(tmp_path / "file", "0" * 32, hint="download it")
