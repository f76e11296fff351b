"""Folders of images: their own splits, or a held-out test split that is the same on every machine."""

from __future__ import annotations

import hashlib
import shutil
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from probebench.api import DataError, ProbebenchWarning, UsageError
from probebench_datasets.options import ImageFolderOptions
from probebench_datasets.user_data import folder_listing
from probebench_datasets.user_data.imagefolder import ImageFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def build(path: Path, **options: object) -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=str(path), **options))


@pytest.fixture
def with_splits(tmp_path, write_folders) -> Path:
    """Returns a folder with splits: images 0 to 7 in train, 8 and 9 in val, 10 to 13 in test."""
    counts = {"train/cat": 3, "train/dog/puppies": 5, "val/cat": 1, "val/dog": 1, "test/cat": 2, "test/dog": 2}
    return write_folders(tmp_path / "pets", counts)


@pytest.fixture
def without_splits(tmp_path, write_folders) -> Path:
    return write_folders(tmp_path / "birds", {"wren": 10, "owl": 23, "kite": 3})


def test_splits_are_those_of_the_folders(with_splits, smooth_image):
    dataset = build(with_splits)
    assert dataset.classes == ("cat", "dog")
    assert dataset.splits == ("train", "val", "test")
    assert dataset.image_size == (32, 32)
    assert [dataset.split(name).labels().tolist() for name in dataset.splits] == [
        [0, 0, 0, 1, 1, 1, 1, 1],
        [0, 1],
        [0, 0, 1, 1],
    ]
    numbers = {"train": range(8), "val": range(8, 10), "test": range(10, 14)}
    for name, expected in numbers.items():
        for index, number in enumerate(expected):
            image = dataset.split(name).image(index)
            assert np.array_equal(image.numpy().transpose(1, 2, 0), smooth_image(number, 32, 32))


def test_without_a_test_split_validation_is_used_as_test(with_splits):
    shutil.rmtree(with_splits / "test")
    (with_splits / "val").rename(with_splits / "validation")
    with pytest.warns(ProbebenchWarning, match="validation split is used as test"):
        dataset = build(with_splits)
    assert dataset.splits == ("train", "test")
    assert dataset.split("test").labels().tolist() == [0, 1]


def expected_test_split(paths: list[str], seed: int) -> set[str]:
    """Chooses by the documentation: a fifth of each class, those with the smallest SHA-256 of purpose, seed, path."""
    chosen: set[str] = set()
    for name in {path.split("/")[0] for path in paths}:
        members = [path for path in paths if path.startswith(name + "/")]
        members.sort(key=lambda path: hashlib.sha256(f"test\x1f{seed}\x1f{path}".encode()).digest())
        chosen |= set(members[: max(round(len(members) / 5), 1)])
    return chosen


@pytest.mark.parametrize("seed", [0, 1])
def test_a_test_split_is_held_out_by_the_names_of_the_files(without_splits, seed):
    dataset = build(without_splits, seed=seed)
    assert dataset.splits == ("train", "test")
    assert [dataset.split("test").labels().bincount().tolist()] == [[1, 5, 2]]
    assert [dataset.split("train").labels().bincount().tolist()] == [[2, 18, 8]]
    paths = sorted(path.relative_to(without_splits).as_posix() for path in without_splits.rglob("*.png"))
    assert len({(without_splits / path).read_bytes() for path in paths}) == len(paths)
    test = expected_test_split(paths, seed)
    for name, members in (("test", test), ("train", set(paths) - test)):
        split = dataset.split(name)
        images = decoded_by_pillow(without_splits, sorted(members))
        assert [torch.equal(split.image(i), image) for i, image in enumerate(images)] == [True] * len(members)


def decoded_by_pillow(root: Path, paths: list[str]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(Image.open(root / path)).copy()).permute(2, 0, 1) for path in paths]


def test_the_split_of_a_class_does_not_change_when_images_are_added_to_another_class(without_splits, write_folders):
    before = build(without_splits).split("test")
    owls = [before.image(i) for i in range(len(before)) if before.labels()[i] == 1]
    write_folders(without_splits, {"kite": 9}, first=500)
    after = build(without_splits).split("test")
    kept = [after.image(i) for i in range(len(after)) if after.labels()[i] == 1]
    assert [torch.equal(a, b) for a, b in zip(owls, kept, strict=True)] == [True] * 5


def test_accented_names_are_the_same_on_all_file_systems(tmp_path, write_folders):
    prints = []
    for form in ("NFC", "NFD"):
        root = tmp_path / form
        write_folders(root, {unicodedata.normalize(form, "bébé"): 10, "bez": 10})
        dataset = build(root)
        prints.append([dataset.split(name).fingerprint() for name in dataset.splits])
    assert prints[0] == prints[1]


def test_images_of_many_formats_and_no_other_files(without_splits, encoded):
    for kind in ("jpeg", "webp", "bmp", "gif", "tiff"):
        (without_splits / "kite" / f"more.{kind.upper()}").write_bytes(encoded(900, kind))
    for system_file in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (without_splits / "kite" / system_file).write_bytes(b"not an image")
    (without_splits / ".git").mkdir()
    dataset = build(without_splits)
    assert dataset.classes == ("kite", "owl", "wren")
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 36 + 5


def test_other_files_are_ignored_with_a_warning(without_splits):
    (without_splits / "owl" / "notes.txt").write_text("seen at night")
    with pytest.warns(ProbebenchWarning, match=r"ignored 1 file without(?s:.)*owl.notes\.txt"):
        dataset = build(without_splits)
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 36


@pytest.mark.parametrize("parent", ["", "train"])
def test_images_in_no_class_are_ignored_with_a_warning(with_splits, encoded, parent):
    (with_splits / parent / "loose.PNG").write_bytes(encoded(900, "png"))
    with pytest.warns(ProbebenchWarning, match=r"ignored 1 image file outside the folders(?s:.)*loose\.PNG"):
        dataset = build(with_splits)
    assert len(dataset.split("train")) == 8


def test_links_to_folders_are_ignored_with_a_warning(without_splits):
    (without_splits / "owl" / "more").symlink_to(without_splits / "wren", target_is_directory=True)
    (without_splits / "owl" / "up").symlink_to(without_splits, target_is_directory=True)
    with pytest.warns(ProbebenchWarning, match=r"ignored 2 links to folders(?s:.)*owl.more"):
        dataset = build(without_splits)
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 36


def test_folders_beside_the_splits_are_ignored_with_a_warning(with_splits, write_folders):
    write_folders(with_splits, {"extra/cat": 1})
    with pytest.warns(ProbebenchWarning, match=r"ignored 1 folder beside the splits(?s:.)*extra"):
        assert build(with_splits).splits == ("train", "val", "test")


def test_splits_may_be_written_with_capitals(with_splits):
    expected = build(with_splits).split("test").fingerprint()
    for name in ("train", "val", "test"):
        (with_splits / name).rename(with_splits / name.capitalize())
    dataset = build(with_splits)
    assert dataset.classes == ("cat", "dog")
    assert dataset.split("test").fingerprint() == expected


def test_two_folders_of_one_split_are_refused(with_splits, write_folders):
    write_folders(with_splits, {"validation/cat": 1})
    with pytest.raises(DataError, match="val and validation are both the split val"):
        build(with_splits)


def test_a_file_that_is_not_an_image_is_named(without_splits):
    (without_splits / "owl" / "page.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"not an image(?s:.)*owl.page\.jpg(?s:.)*delete it"):
        build(without_splits).split("train").fingerprint()


def outcome(folder: Path) -> str:
    """Returns the fingerprints, or the error."""
    try:
        dataset = build(folder)
        return " ".join(dataset.split(name).fingerprint() for name in dataset.splits)
    except DataError as error:
        return str(error)


def flips(path: Path, first: int, step: int) -> Iterator[None]:
    """Flips single bits of a file, one at a time."""
    original = path.read_bytes()
    for position in range(first, len(original), step):
        damaged = bytearray(original)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        yield


def test_one_flipped_byte_of_a_png_is_damage(tmp_path, write_folders):
    folder = write_folders(tmp_path / "birds", {"owl": 4, "wren": 4})
    path = folder / "owl" / "002.png"
    for _ in flips(path, 0, 23):
        assert str(path) in outcome(folder)


def test_one_flipped_byte_of_a_jpeg_that_changes_a_pixel_is_noticed(tmp_path, write_folders):
    """JPEG has no checksums, so the pixels are compared."""

    def pixels() -> bytes:
        try:
            return np.asarray(Image.open(path)).tobytes()
        except OSError:
            return b"damaged"

    folder = write_folders(tmp_path / "birds", {"owl": 4, "wren": 4}, kind="jpeg")
    path = folder / "owl" / "002.jpeg"
    before, original = outcome(folder), pixels()
    changed = 0
    for _ in flips(path, path.read_bytes().index(b"\xff\xda") + 14, 29):
        after = outcome(folder)
        assert (after != before) == (pixels() != original)
        assert (str(path) in after) == (pixels() == b"damaged")
        changed += after != before
    assert changed > 5


def test_image_size(without_splits, write_folders):
    write_folders(without_splits, {"wren": 1}, kind="jpeg", size=(50, 40))
    with pytest.raises(DataError, match="image_size=32"):
        build(without_splits).split("train").fingerprint()
    dataset = build(without_splits, image_size=24)
    assert dataset.image_size == (24, 24)
    assert dataset.split("train").image(0).shape == (3, 24, 24)


def test_no_path():
    with pytest.raises(UsageError, match="imagefolder:path=FOLDER"):
        ImageFolder(ImageFolderOptions())


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"folder does not exist(?s:.)*nowhere(?s:.)*set path to a folder"):
        build(tmp_path / "nowhere")


def test_a_file_is_not_a_folder(without_splits):
    with pytest.raises(DataError, match="the path is a file"):
        build(without_splits / "owl" / "000.png")


def test_a_folder_that_cannot_be_read(without_splits, monkeypatch):
    def fail(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(without_splits))

    monkeypatch.setattr(folder_listing.os, "scandir", fail)
    with pytest.raises(DataError, match=r"Permission denied(?s:.)*birds(?s:.)*chmod u\+rX"):
        build(without_splits)


def test_images_without_class_folders(tmp_path, write_folders):
    write_folders(tmp_path / "flat", {".": 4})
    with pytest.raises(DataError, match=r"no folder, but a dataset needs two classes(?s:.)*cat"):
        build(tmp_path / "flat")


def test_one_class_is_too_few(tmp_path, write_folders):
    with pytest.raises(DataError, match="one folder, 'owl', but"):
        build(write_folders(tmp_path / "one", {"owl": 4}))


def test_an_empty_class_is_named(without_splits):
    (without_splits / "dodo").mkdir()
    with pytest.raises(DataError, match=r"class 'dodo' has no images(?s:.)*birds.dodo(?s:.)*remove it"):
        build(without_splits)


def test_a_class_of_test_that_is_not_in_train_is_named(with_splits, write_folders):
    write_folders(with_splits, {"test/fox": 1})
    with pytest.raises(DataError, match=r"class 'fox' is not in train(?s:.)*test.fox"):
        build(with_splits)


def test_a_class_may_be_missing_in_test(with_splits):
    shutil.rmtree(with_splits / "test" / "cat")
    assert build(with_splits).split("test").labels().tolist() == [1, 1]


def test_a_split_without_images(with_splits):
    shutil.rmtree(with_splits / "test")
    (with_splits / "test").mkdir()
    with pytest.raises(DataError, match=r"split has no images(?s:.)*test"):
        build(with_splits)


def test_test_without_train(with_splits):
    shutil.rmtree(with_splits / "train")
    with pytest.raises(DataError, match="no folder train"):
        build(with_splits)


def test_a_seed_without_effect_is_refused(with_splits):
    with pytest.raises(UsageError, match=r"seed=3 has no effect(?s:.)*own test split(?s:.)*remove seed"):
        build(with_splits, seed=3)


def test_a_name_that_is_not_text():
    """Such as Latin-1 bytes on Linux, which cannot be written into a record."""
    with pytest.raises(DataError, match=r"is not valid Unicode text(?s:.)*rename the file"):
        folder_listing._valid_text("caf\udce9", "somewhere")


def test_a_class_with_one_image_is_reported(without_splits, write_folders):
    write_folders(without_splits, {"dodo": 1}, first=700)
    with pytest.warns(ProbebenchWarning, match="classes with a single image: 1"):
        dataset = build(without_splits)
    assert dataset.split("train").labels().bincount().tolist()[0] == 1


def test_unknown_split(without_splits):
    with pytest.raises(UsageError, match="no split 'val'"):
        build(without_splits).split("val")
