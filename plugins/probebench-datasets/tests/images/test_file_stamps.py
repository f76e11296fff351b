"""Stamps: files that have not changed are not read again, and files that have are."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest

from probebench.api import DataError
from probebench_datasets.images import file_stamps
from probebench_datasets.images.decoder import Decoder


def test_files_that_have_not_changed_are_not_read_again(open_images, all_of, settled, forbid_decoding, monkeypatch):
    first = all_of(open_images())
    forbid_decoding()
    monkeypatch.setattr(file_stamps, "content_hash", lambda _: pytest.fail("read again"))
    assert np.array_equal(all_of(open_images()), first)


@pytest.mark.parametrize(("age", "settled"), [(0, False), (1_999_999_999, False), (2_000_000_001, True)])
def test_files_changed_within_two_seconds_are_not_settled(folder, monkeypatch, age, settled):
    """Where a clock is coarse, a second change could leave size and times as they are."""
    files = sorted((folder / "cats").iterdir())
    newest = max(max(file.stat().st_mtime_ns, file.stat().st_ctime_ns) for file in files)
    monkeypatch.setattr(file_stamps, "time", SimpleNamespace(time_ns=lambda: newest + age))
    assert file_stamps.stamp([str(file) for file in files]).settled is settled


def test_the_content_of_files_that_are_not_settled_is_not_saved(open_images, cache_folder, monkeypatch):
    monkeypatch.setattr(file_stamps, "_SETTLED", 10**18)
    open_images().image(0)
    assert not list((cache_folder / "decoded").glob("*.content"))


def test_a_copy_elsewhere_has_the_same_images(open_images, all_of, folder, tmp_path, forbid_decoding):
    first = all_of(open_images())
    forbid_decoding()
    folder.rename(tmp_path / "moved")
    assert np.array_equal(all_of(open_images(root=tmp_path / "moved")), first)


def test_a_changed_file_is_noticed_though_size_and_mtime_are_the_same(
    open_images, all_of, folder, settled, smooth_image
):
    path, other = folder / "cats" / "007.png", folder / "cats" / "008.png"
    size = max(path.stat().st_size, other.stat().st_size)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))  # readers of PNG ignore what follows its end
    before, status = all_of(open_images()), path.stat()
    path.write_bytes(other.read_bytes().ljust(size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    after = all_of(open_images())
    assert np.array_equal(after[7], smooth_image(8, 12, 10).transpose(2, 0, 1))
    assert [index for index in range(len(after)) if not np.array_equal(after[index], before[index])] == [7]


def test_files_that_change_while_they_are_read_are_an_error(open_images, folder, cached_files, monkeypatch):
    decode = Decoder.decode

    def decode_and_change(self, data, where):
        (folder / "cats" / "000.png").write_bytes(b"new")
        return decode(self, data, where)

    monkeypatch.setattr(Decoder, "decode", decode_and_change)
    with pytest.raises(DataError, match="changed while they were read"):
        open_images().image(0)
    assert not cached_files()


def test_a_file_that_cannot_be_found_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: No such file(?s:.)*gone\.png(?s:.)*chmod"):
        file_stamps.stamp([str(tmp_path / "gone.png")])
