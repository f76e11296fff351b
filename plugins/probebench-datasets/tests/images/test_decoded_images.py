"""Decoded images: they are decoded once, whether or not the cache can be used."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from probebench.api import DataError
from probebench_datasets.images.decoder import Decoder


def test_images_are_those_of_the_files_in_their_order(open_images, all_of, smooth_image):
    expected = np.stack([smooth_image(number, 12, 10).transpose(2, 0, 1) for number in range(150)])
    assert np.array_equal(all_of(open_images()), expected)


def test_the_second_start_decodes_nothing(open_images, all_of, forbid_decoding):
    first = all_of(open_images())
    forbid_decoding()
    assert np.array_equal(all_of(open_images()), first)


def test_the_cost_is_reported_once(open_images, cached_files, capsys):
    open_images().image(0)
    [path] = cached_files()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "decoding 150 images of mine" in printed.err
    assert f"0 MB stored in {path}" in printed.err
    open_images().image(0)
    assert capsys.readouterr().err == ""


def test_another_rule_has_its_own_cache_file(open_images, cached_files):
    assert open_images().image(0).shape == (3, 10, 12)
    assert open_images(8).image(0).shape == (3, 8, 8)
    assert open_images().image(0).shape == (3, 10, 12)
    assert len(cached_files()) == 2


def test_another_version_of_a_library_decodes_again(open_images, cached_files, monkeypatch):
    open_images().image(0)
    monkeypatch.setattr(Decoder, "libraries", property(lambda _: "another JPEG library"))
    open_images().image(0)
    assert len(cached_files()) == 2


def test_nothing_is_written_beside_the_users_images(open_images, all_of, folder):
    before = sorted(folder.rglob("*"))
    all_of(open_images())
    assert sorted(folder.rglob("*")) == before


def test_without_a_cache_images_are_held_in_memory(open_images, all_of, tmp_path, monkeypatch, capsys):
    first = all_of(open_images())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PROBEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    images = open_images()
    with pytest.warns(UserWarning, match=r"cache cannot be used(?s:.)*in memory(?s:.)*PROBEBENCH_CACHE"):
        assert np.array_equal(images.image(0), first[0])
    assert "held in memory" in capsys.readouterr().err
    assert np.array_equal(all_of(images), first)
    assert np.array_equal(pickle.loads(pickle.dumps(images)).image(3), first[3])  # and is not decoded again


def test_an_image_that_cannot_be_decoded_leaves_no_file(open_images, cache_folder, folder):
    (folder / "cats" / "090.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"in: .*cats.090\.png"):
        open_images().image(0)
    assert not list((cache_folder / "decoded").iterdir())


def test_images_of_different_sizes_need_image_size(open_images, folder, encoded):
    (folder / "cats" / "090.png").write_bytes(encoded(1, size=(14, 9)))
    with pytest.raises(DataError, match=r"14x9, the first one is 12x10(?s:.)*090\.png(?s:.)*image_size=9"):
        open_images().image(0)
    assert open_images(9).image(90).shape == (3, 9, 9)


def test_other_processes_open_the_file_again(open_images):
    images = open_images()
    first = images.image(5)
    sent = pickle.dumps(images)
    assert len(sent) < 20_000  # names of files, not pixels
    assert np.array_equal(pickle.loads(sent).image(5), first)
