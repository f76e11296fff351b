"""The cache of decoded images: damage is noticed, and its size is limited."""

from __future__ import annotations

import os
import time
import warnings

import numpy as np
import pytest

from probebench.api import DataError, UsageError
from probebench_datasets.images import decoded_cache

COUNT = 150
PAGE, DIGESTS, CHECKSUM = 4096, 16 * COUNT, 32


@pytest.mark.parametrize(
    "position",
    [3, 40, PAGE - 1, -CHECKSUM - DIGESTS, -CHECKSUM - 1, -1],
    ids=["magic", "key", "padding", "first-digest", "last-digest", "checksum"],
)
def test_a_file_with_a_flipped_bit_is_written_again(open_images, all_of, cached_files, flip, position):
    check_damage(open_images, all_of, cached_files, lambda path: flip(path, position))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    ],
    ids=["truncated", "head", "empty", "longer", "zeros"],
)
def test_a_damaged_file_is_written_again(open_images, all_of, cached_files, damage):
    check_damage(open_images, all_of, cached_files, damage)


def check_damage(open_images, all_of, cached_files, damage):
    first = all_of(open_images())
    [path] = cached_files()
    intact = path.read_bytes()
    damage(path)
    with pytest.warns(UserWarning, match="damaged file of decoded images"):
        assert np.array_equal(all_of(open_images()), first)
    assert path.read_bytes() == intact


def test_a_flipped_pixel_is_noticed_when_it_is_read(open_images, all_of, cached_files, flip):
    first = all_of(open_images())
    [path] = cached_files()
    flip(path, PAGE + 7 * first[0].size + 5)
    images = open_images()
    assert np.array_equal(images.image(6), first[6])
    with pytest.warns(UserWarning, match="image 7 has changed"):
        assert np.array_equal(images.image(7), first[7])
    assert np.array_equal(images.image(8), first[8])
    assert not path.exists()  # it is written again at the next start
    assert np.array_equal(all_of(open_images()), first)


def test_a_flipped_pixel_of_an_image_file_that_has_changed_is_an_error(open_images, cached_files, flip, folder):
    open_images().image(0)
    flip(cached_files()[0], PAGE)
    images = open_images()
    assert images.image(1).shape == (3, 10, 12)
    (folder / "cats" / "000.png").write_bytes((folder / "cats" / "001.png").read_bytes())
    with pytest.warns(UserWarning, match="image 0"), pytest.raises(DataError, match=r"has changed(?s:.)*000\.png"):
        images.image(0)


def test_a_full_disk_is_not_an_error(open_images, cache_folder, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decoded_cache.os, "fsync", fail)
    with pytest.warns(UserWarning, match="No space left"):
        assert open_images().image(0).shape == (3, 10, 12)
    assert not list((cache_folder / "decoded").iterdir())


def test_a_read_only_folder_can_be_read(open_images, all_of, forbid_decoding, monkeypatch):
    first = all_of(open_images())
    forbid_decoding()

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(decoded_cache.os, "utime", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(all_of(open_images()), first)


def test_the_least_recently_used_file_is_deleted_first(open_images, cached_files, monkeypatch):
    size = {}
    for side in (5, 6, 7):
        open_images(side).image(0)
        [new] = set(cached_files()) - set(size)
        size[new] = new.stat().st_size
    oldest, used, _ = size
    for age, path in enumerate([used, oldest]):
        os.utime(path, (time.time() - 1000 - age,) * 2)
    open_images(6).image(0)  # this use makes it recent
    monkeypatch.setenv("PROBEBENCH_CACHE_GB", str((sum(size.values()) + 1000) / 1e9))
    open_images(4).image(0)
    assert oldest not in cached_files()
    assert used in cached_files()


def test_a_process_continues_to_read_a_deleted_file(open_images, all_of, cached_files):
    images = open_images()
    first = all_of(images)
    cached_files()[0].unlink()
    assert np.array_equal(all_of(images), first)


def test_images_above_the_size_limit_are_an_error(open_images, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_CACHE_GB", "0.00001")
    with pytest.raises(DataError, match=r"limit of the cache is 1e-05 GB(?s:.)*PROBEBENCH_CACHE_GB="):
        open_images().image(0)


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_a_size_limit_that_is_not_a_positive_number_is_refused(open_images, monkeypatch, text):
    monkeypatch.setenv("PROBEBENCH_CACHE_GB", text)
    with pytest.raises(UsageError, match=f"PROBEBENCH_CACHE_GB={text}"):
        open_images().image(0)


def test_temporary_files_of_killed_processes_are_deleted(open_images, cache_folder):
    decoded = cache_folder / "decoded"
    decoded.mkdir(parents=True)
    for name, age in (("old", 2 * 24 * 3600), ("young", 60)):
        (decoded / f".{name}.tmp").write_bytes(b"half")
        os.utime(decoded / f".{name}.tmp", (time.time() - age,) * 2)
    open_images().image(0)
    assert [path.name for path in decoded.glob(".*.tmp")] == [".young.tmp"]
