"""Decoding is paid once; a cache that is damaged, full, or cannot be written never changes an image."""

from __future__ import annotations

import hashlib
import os
import pickle
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from probebench.api import DataError, UsageError
from probebench_datasets.images import decoded_cache as cache
from probebench_datasets.images import file_stamps as stamps
from probebench_datasets.images.arrays import image_digest
from probebench_datasets.images.decoded_images import DecodedImages, DecodedSplit
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.user_data.folder_listing import FilePictures

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 150  # more than two batches
PAGE, DIGESTS, SUM = 4096, 16 * COUNT, 32


@pytest.fixture
def folder(tmp_path, write_tree) -> Path:
    return write_tree(tmp_path / "mine", {"cats": COUNT}, size=(12, 10))


@pytest.fixture
def open_images(folder):
    def open_images(image_size: int | None = None, place: Path = folder) -> DecodedImages:
        files = sorted(str(path) for path in (place / "cats").iterdir())
        return DecodedImages(FilePictures(files), Decoder(image_size), "mine")

    return open_images


@pytest.fixture
def settled(monkeypatch) -> None:
    """Files written a moment ago count as old."""
    monkeypatch.setattr(stamps, "_SETTLED", -(10**18))


@pytest.fixture
def no_decoding(monkeypatch):
    """From the call on, nothing can be decoded."""

    def forbid() -> None:
        monkeypatch.setattr(Decoder, "decode", lambda *_: pytest.fail("decoded again"))

    return forbid


def all_of(images: DecodedImages) -> np.ndarray:
    return np.stack([images.image(index) for index in range(len(images))])


def kept(cache_folder: Path) -> list[Path]:
    return sorted((cache_folder / "decoded").glob("*.decoded"))


def test_images_are_those_of_the_files_in_their_order(open_images, scene):
    expected = np.stack([scene(number, 12, 10).transpose(2, 0, 1) for number in range(COUNT)])
    assert np.array_equal(all_of(open_images()), expected)


def test_the_second_start_decodes_nothing(open_images, no_decoding):
    first = all_of(open_images())
    no_decoding()
    assert np.array_equal(all_of(open_images()), first)


def test_the_cost_is_reported_once(open_images, cache_folder, capsys):
    open_images().image(0)
    [path] = kept(cache_folder)
    said = capsys.readouterr()
    assert said.out == ""
    assert "decoding 150 images of mine" in said.err
    assert f"0 MB kept in {path}" in said.err
    open_images().image(0)
    assert capsys.readouterr().err == ""


def test_files_that_have_not_changed_are_not_read_again(open_images, settled, no_decoding, monkeypatch):
    first = all_of(open_images())
    no_decoding()
    monkeypatch.setattr(stamps, "content", lambda _: pytest.fail("read again"))
    assert np.array_equal(all_of(open_images()), first)


def test_of_files_written_a_moment_ago_nothing_is_remembered(open_images, cache_folder):
    """Where a clock is coarse, a second change might leave size and times as they are."""
    open_images().image(0)
    assert not list((cache_folder / "decoded").glob("*.content"))


def test_a_copy_elsewhere_finds_the_same_images(open_images, folder, tmp_path, no_decoding):
    first = all_of(open_images())
    no_decoding()
    folder.rename(tmp_path / "moved")
    assert np.array_equal(all_of(open_images(place=tmp_path / "moved")), first)


def test_a_changed_file_is_noticed_though_size_and_mtime_are_the_same(open_images, folder, settled, scene):
    before = all_of(open_images())
    path, other = folder / "cats" / "007.png", folder / "cats" / "008.png"
    times, size = path.stat(), path.stat().st_size
    new = other.read_bytes()
    path.write_bytes(new[:size] if len(new) > size else new + b"\0" * (size - len(new)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if len(new) > size:
        with pytest.raises(DataError, match="007"):
            all_of(open_images())
        return
    after = all_of(open_images())
    assert np.array_equal(after[7], scene(8, 12, 10).transpose(2, 0, 1))
    assert [index for index in range(COUNT) if not np.array_equal(after[index], before[index])] == [7]


def test_another_rule_has_a_cache_of_its_own(open_images, cache_folder):
    assert open_images().image(0).shape == (3, 10, 12)
    assert open_images(8).image(0).shape == (3, 8, 8)
    assert open_images().image(0).shape == (3, 10, 12)
    assert len(kept(cache_folder)) == 2


def test_another_version_of_a_library_decodes_anew(open_images, cache_folder, monkeypatch):
    open_images().image(0)
    monkeypatch.setattr(Decoder, "libraries", property(lambda _: "another JPEG library"))
    open_images().image(0)
    assert len(kept(cache_folder)) == 2


def test_nothing_is_written_beside_the_users_images(open_images, folder):
    before = sorted(folder.rglob("*"))
    all_of(open_images())
    assert sorted(folder.rglob("*")) == before


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, 3),
        lambda path: flip(path, 40),
        lambda path: flip(path, PAGE - 1),
        lambda path: flip(path, -SUM - DIGESTS),
        lambda path: flip(path, -SUM - 1),
        lambda path: flip(path, -1),
        lambda path: os.truncate(path, path.stat().st_size - 1),
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    ],
    ids=["magic", "key", "padding", "first-digest", "last-digest", "sum", "cut", "head", "empty", "longer", "zeros"],
)
def test_a_damaged_file_is_made_anew(open_images, cache_folder, damage):
    first = all_of(open_images())
    [path] = kept(cache_folder)
    sound = path.read_bytes()
    damage(path)
    with pytest.warns(UserWarning, match="damaged file of decoded images"):
        assert np.array_equal(all_of(open_images()), first)
    assert path.read_bytes() == sound


def test_a_flipped_pixel_is_noticed_when_it_is_read(open_images, cache_folder):
    first = all_of(open_images())
    [path] = kept(cache_folder)
    flip(path, PAGE + 7 * first[0].size + 5)
    images = open_images()
    assert np.array_equal(images.image(6), first[6])
    with pytest.warns(UserWarning, match="image 7 has changed"):
        assert np.array_equal(images.image(7), first[7])
    assert np.array_equal(images.image(8), first[8])
    assert not path.exists()  # it is made anew at the next start
    assert np.array_equal(all_of(open_images()), first)


def test_a_flipped_pixel_of_a_picture_that_is_gone_is_an_error(open_images, cache_folder, folder):
    open_images().image(0)
    flip(kept(cache_folder)[0], PAGE)
    images = open_images()
    assert images.image(1).shape == (3, 10, 12)
    (folder / "cats" / "000.png").write_bytes((folder / "cats" / "001.png").read_bytes())
    with pytest.warns(UserWarning, match="image 0"), pytest.raises(DataError, match=r"has changed(?s:.)*000\.png"):
        images.image(0)


def test_without_a_cache_images_are_held_in_memory(open_images, tmp_path, monkeypatch, capsys):
    first = all_of(open_images())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROBEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    images = open_images()
    with pytest.warns(UserWarning, match=r"cache cannot be used(?s:.)*in memory(?s:.)*PROBEBENCH_CACHE"):
        assert np.array_equal(images.image(0), first[0])
    assert "held in memory" in capsys.readouterr().err
    assert np.array_equal(all_of(images), first)
    assert np.array_equal(pickle.loads(pickle.dumps(images)).image(3), first[3])  # and is not decoded again


def test_a_full_disk_is_no_failure(open_images, cache_folder, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "fsync", fail)
    with pytest.warns(UserWarning, match="No space left"):
        assert open_images().image(0).shape == (3, 10, 12)
    assert not list((cache_folder / "decoded").iterdir())


def test_a_picture_that_cannot_be_decoded_leaves_no_file(open_images, cache_folder, folder):
    (folder / "cats" / "090.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"in: .*cats.090\.png"):
        open_images().image(0)
    assert not list((cache_folder / "decoded").iterdir())


def test_images_of_unequal_size_need_image_size(open_images, folder, encoded):
    (folder / "cats" / "090.png").write_bytes(encoded(1, size=(14, 9)))
    with pytest.raises(DataError, match=r"14x9, the first one is 12x10(?s:.)*090\.png(?s:.)*image_size=9"):
        open_images().image(0)
    assert open_images(9).image(90).shape == (3, 9, 9)


def test_files_that_change_while_they_are_read_are_an_error(open_images, folder, cache_folder, monkeypatch):
    decode = Decoder.decode

    def decode_and_change(self, data, where):
        (folder / "cats" / "000.png").write_bytes(b"new")
        return decode(self, data, where)

    monkeypatch.setattr(Decoder, "decode", decode_and_change)
    with pytest.raises(DataError, match="changed while they were read"):
        open_images().image(0)
    assert not kept(cache_folder)


def test_the_file_used_longest_ago_goes_first(open_images, cache_folder, monkeypatch):
    size = {}
    for side in (5, 6, 7):
        open_images(side).image(0)
        [new] = set(kept(cache_folder)) - set(size)
        size[new] = new.stat().st_size
    oldest, used, _ = size
    for age, path in enumerate([used, oldest]):
        os.utime(path, (time.time() - 1000 - age,) * 2)
    open_images(6).image(0)  # use makes it young
    monkeypatch.setenv("PROBEBENCH_CACHE_GB", str((sum(size.values()) + 1000) / 1e9))
    open_images(4).image(0)
    assert oldest not in kept(cache_folder)
    assert used in kept(cache_folder)


def test_a_process_that_reads_a_deleted_file_reads_on(open_images, cache_folder):
    images = open_images()
    first = all_of(images)
    kept(cache_folder)[0].unlink()
    assert np.array_equal(all_of(images), first)


def test_more_than_the_cache_may_hold_is_an_error(open_images, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_CACHE_GB", "0.00001")
    with pytest.raises(DataError, match=r"cache may have 1e-05 GB(?s:.)*PROBEBENCH_CACHE_GB="):
        open_images().image(0)


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan"])
def test_a_bound_that_is_no_number_is_refused(open_images, monkeypatch, text):
    monkeypatch.setenv("PROBEBENCH_CACHE_GB", text)
    with pytest.raises(UsageError, match=f"PROBEBENCH_CACHE_GB={text}"):
        open_images().image(0)


def test_what_a_killed_process_left_is_removed(open_images, cache_folder):
    decoded = cache_folder / "decoded"
    decoded.mkdir(parents=True)
    for name, age in (("old", 2 * 24 * 3600), ("young", 60)):
        (decoded / f".{name}.tmp").write_bytes(b"half")
        os.utime(decoded / f".{name}.tmp", (time.time() - age,) * 2)
    open_images().image(0)
    assert [path.name for path in decoded.glob(".*.tmp")] == [".young.tmp"]


def test_a_folder_that_cannot_be_written_can_be_read(open_images, no_decoding, monkeypatch):
    first = all_of(open_images())
    no_decoding()

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache.os, "utime", fail)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(all_of(open_images()), first)


def test_other_processes_open_the_file_for_themselves(open_images):
    images = open_images()
    first = images.image(5)
    sent = pickle.dumps(images)
    assert len(sent) < 20_000  # names of files, not pixels
    assert np.array_equal(pickle.loads(sent).image(5), first)


class TestSplit:
    """What the core sees of it."""

    @pytest.fixture
    def labels(self) -> np.ndarray:
        return np.arange(COUNT) % 3

    def test_digests_are_those_of_the_images(self, open_images, labels):
        split = DecodedSplit(open_images(), labels)
        assert split.digests() == [image_digest(split.image(index).numpy()) for index in range(COUNT)]

    def test_a_part_has_the_images_at_its_positions(self, open_images, labels):
        part = np.array([4, 100, 7])
        whole, split = DecodedSplit(open_images(), labels), DecodedSplit(open_images(), labels[part], part)
        assert len(split) == 3
        assert split.labels().tolist() == [1, 1, 1]
        assert [torch.equal(split.image(i), whole.image(int(j))) for i, j in enumerate(part)] == [True] * 3
        assert split.digests() == [whole.digests()[j] for j in part]

    def test_fingerprint_sees_image_label_order_and_rule(self, open_images, labels, folder):
        swap, other = np.arange(COUNT), labels.copy()
        swap[[3, 6]] = swap[[6, 3]]  # of one class
        other[9] = 2
        splits = [
            DecodedSplit(open_images(), labels),
            DecodedSplit(open_images(), labels, swap),
            DecodedSplit(open_images(), other),
            DecodedSplit(open_images(), labels[:-1], np.arange(COUNT - 1)),
            DecodedSplit(open_images(10), labels),
        ]
        prints = [split.fingerprint() for split in splits]
        (folder / "cats" / "000.png").write_bytes((folder / "cats" / "003.png").read_bytes())
        prints.append(DecodedSplit(open_images(), labels).fingerprint())
        assert len(set(prints)) == len(prints)
        assert all(len(bytes.fromhex(value)) == hashlib.sha256().digest_size for value in prints)

    def test_the_rule_counts_where_the_pixels_are_the_same(self, tmp_path, write_tree):
        """The pictures are 9x9 already: resizing changes nothing, and is still another dataset."""
        place = write_tree(tmp_path / "square", {"cats": 2}, size=(9, 9))
        files = sorted(str(path) for path in (place / "cats").iterdir())
        labels = np.zeros(2, np.int64)
        one, other = (DecodedSplit(DecodedImages(FilePictures(files), Decoder(n), ""), labels) for n in (None, 9))
        assert one.digests() == other.digests()
        assert one.fingerprint() != other.fingerprint()
