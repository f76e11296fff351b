"""Archives: nothing is written outside the folder, and damage is noticed."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

import pytest

from probebench.api import DataError
from probebench_datasets.downloads.unpack import unpack


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
    calls = []
    packed = archive(tmp_path / "a.tar", [("set/one", b"1" * 9000), ("set/deep/two", b"2")], mode)
    unpack(packed, tmp_path / "out", progress=lambda *values: calls.append(values))
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    contents = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in files}
    assert contents == {"set/one": b"1" * 9000, "set/deep/two": b"2"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["set"]
    assert {(name, total) for name, _, total in calls} == {("a.tar", packed.stat().st_size)}


def test_existing_files_are_replaced(tmp_path):
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
def test_an_archive_with_a_path_outside_is_not_unpacked(tmp_path, member):
    packed = archive(
        tmp_path / "a.tgz", [("set/good", b"good"), (member, b"" if not isinstance(member, str) else b"x")]
    )
    with pytest.raises(DataError, match=r"was not unpacked: .* is not a regular file inside its folder") as error:
        unpack(packed, tmp_path / "out")
    assert error.value.where == str(packed)
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "out"]


@pytest.mark.parametrize("mode", ["w:gz", "w", "w:bz2", "w:xz"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_named(tmp_path, mode, keep):
    noise = hashlib.shake_256(b"noise").digest(200_000)
    packed = archive(tmp_path / "a.tar", [("set/one", noise)], mode)
    packed.write_bytes(packed.read_bytes()[: int(keep * packed.stat().st_size)])
    with pytest.raises(DataError, match=r"a\.tar is truncated or damaged") as error:
        unpack(packed, tmp_path / "out")
    assert error.value.where == str(packed)
    assert error.value.hint == f"delete {packed} and run the same command again"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_damaged_archive_is_named(tmp_path):
    packed = archive(tmp_path / "a.tgz", [("set/one", hashlib.shake_256(b"noise").digest(200_000))])
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 0xFF
    packed.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tgz is truncated or damaged"):
        unpack(packed, tmp_path / "out")


def test_text_is_not_an_archive(tmp_path):
    page = tmp_path / "a.tgz"
    page.write_bytes(gzip.compress(b"<html>not found</html>"))
    with pytest.raises(DataError, match=r"a\.tgz is truncated or damaged"):
        unpack(page, tmp_path / "out")
