"""Folders of pictures: the splits that are there, or a test part that is the same on every machine."""

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
from probebench_datasets.user_data import folder_listing as files
from probebench_datasets.user_data.imagefolder import ImageFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def build(path: Path, **options: object) -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=str(path), **options))


@pytest.fixture
def divided(tmp_path, write_tree) -> Path:
    """Folders of splits: pictures 0 to 7 for training, 8 and 9 to validate, 10 to 13 to test."""
    counts = {"train/cat": 3, "train/dog/puppies": 5, "val/cat": 1, "val/dog": 1, "test/cat": 2, "test/dog": 2}
    return write_tree(tmp_path / "pets", counts)


@pytest.fixture
def plain(tmp_path, write_tree) -> Path:
    return write_tree(tmp_path / "birds", {"wren": 10, "owl": 23, "kite": 3})


def test_splits_that_are_there_are_taken(divided, scene):
    dataset = build(divided)
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
            assert np.array_equal(image.numpy().transpose(1, 2, 0), scene(number, 32, 32))


def test_validation_stands_for_a_test_split_that_is_missing(divided):
    shutil.rmtree(divided / "test")
    (divided / "val").rename(divided / "validation")
    with pytest.warns(ProbebenchWarning, match="validation split stands for it"):
        dataset = build(divided)
    assert dataset.splits == ("train", "test")
    assert dataset.split("test").labels().tolist() == [0, 1]


def expected_test_part(paths: list[str], seed: int) -> set[str]:
    """By the words of the documentation: of each class a fifth, those with the smallest sums of purpose, seed, path."""
    chosen: set[str] = set()
    for name in {path.split("/")[0] for path in paths}:
        members = [path for path in paths if path.startswith(name + "/")]
        members.sort(key=lambda path: hashlib.sha256(f"test\x1f{seed}\x1f{path}".encode()).digest())
        chosen |= set(members[: max(round(len(members) / 5), 1)])
    return chosen


@pytest.mark.parametrize("seed", [0, 1])
def test_a_test_part_is_set_aside_by_the_names_of_the_files(plain, scene, seed):
    dataset = build(plain, seed=seed)
    assert dataset.splits == ("train", "test")
    assert [dataset.split("test").labels().bincount().tolist()] == [[1, 5, 2]]
    assert [dataset.split("train").labels().bincount().tolist()] == [[2, 18, 8]]
    paths = sorted(path.relative_to(plain).as_posix() for path in plain.rglob("*.png"))
    wanted = expected_test_part(paths, seed)
    pictures = {path: (plain / path).read_bytes() for path in paths}
    assert len(set(pictures.values())) == len(paths)
    for split, members in (("test", wanted), ("train", set(paths) - wanted)):
        one_by_one = decoded_by_pillow(plain, sorted(members))
        part = dataset.split(split)
        assert [torch.equal(part.image(i), image) for i, image in enumerate(one_by_one)] == [True] * len(members)


def decoded_by_pillow(root: Path, paths: list[str]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.asarray(Image.open(root / path)).copy()).permute(2, 0, 1) for path in paths]


def test_the_division_does_not_move_when_pictures_are_added_to_another_class(plain, write_tree):
    before = build(plain).split("test")
    owls = [before.image(i) for i in range(len(before)) if before.labels()[i] == 1]
    write_tree(plain, {"kite": 9}, first=500)
    after = build(plain).split("test")
    kept = [after.image(i) for i in range(len(after)) if after.labels()[i] == 1]
    assert [torch.equal(a, b) for a, b in zip(owls, kept, strict=True)] == [True] * 5


def test_accented_names_are_spelt_alike_on_all_file_systems(tmp_path, write_tree):
    prints = []
    for form in ("NFC", "NFD"):
        root = tmp_path / form
        write_tree(root, {unicodedata.normalize(form, "bébé"): 10, "bez": 10})
        dataset = build(root)
        prints.append([dataset.split(name).fingerprint() for name in dataset.splits])
    assert prints[0] == prints[1]


def test_pictures_of_many_formats_and_nothing_else(plain, encoded):
    for kind in ("jpeg", "webp", "bmp", "gif", "tiff"):
        (plain / "kite" / f"more.{kind.upper()}").write_bytes(encoded(900, kind))
    for litter in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (plain / "kite" / litter).write_bytes(b"litter")
    (plain / ".git").mkdir()
    dataset = build(plain)
    assert dataset.classes == ("kite", "owl", "wren")
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 36 + 5


def test_other_files_are_left_out_with_a_warning(plain):
    (plain / "owl" / "notes.txt").write_text("seen at night")
    with pytest.warns(ProbebenchWarning, match=r"left out 1 file without(?s:.)*owl.notes\.txt"):
        dataset = build(plain)
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 36


@pytest.mark.parametrize("place", ["", "train"])
def test_pictures_in_no_class_are_left_out_with_a_warning(divided, encoded, place):
    (divided / place / "loose.PNG").write_bytes(encoded(900, "png"))
    with pytest.warns(ProbebenchWarning, match=r"left out 1 picture beside the classes' folders(?s:.)*loose\.PNG"):
        dataset = build(divided)
    assert len(dataset.split("train")) == 8


def test_links_to_folders_are_left_out_with_a_warning(plain):
    (plain / "owl" / "more").symlink_to(plain / "wren", target_is_directory=True)
    (plain / "owl" / "up").symlink_to(plain, target_is_directory=True)
    with pytest.warns(ProbebenchWarning, match=r"left out 2 links to folders(?s:.)*owl.more"):
        dataset = build(plain)
    assert sum(len(dataset.split(name)) for name in dataset.splits) == 36


def test_folders_beside_the_splits_are_left_out_with_a_warning(divided, write_tree):
    write_tree(divided, {"extra/cat": 1})
    with pytest.warns(ProbebenchWarning, match=r"left out 1 folder beside the splits(?s:.)*extra"):
        assert build(divided).splits == ("train", "val", "test")


def test_splits_may_be_written_with_capitals(divided):
    expected = build(divided).split("test").fingerprint()
    for name in ("train", "val", "test"):
        (divided / name).rename(divided / name.capitalize())
    dataset = build(divided)
    assert dataset.classes == ("cat", "dog")
    assert dataset.split("test").fingerprint() == expected


def test_two_folders_of_one_split_are_refused(divided, write_tree):
    write_tree(divided, {"validation/cat": 1})
    with pytest.raises(DataError, match="val and validation are both the split val"):
        build(divided)


@pytest.mark.parametrize(
    ("folder", "name"), [("Ünï Vögel", "uni-vogel"), ("my_birds.v2", "my-birds-v2"), ("猫cat", "cat")]
)
def test_the_name_is_that_of_the_folder_in_plain_letters(folder, name):
    assert ImageFolderOptions(path=f"somewhere/{folder}/").name == name


def test_a_folder_whose_name_has_no_plain_letter_needs_another():
    with pytest.raises(ValueError, match="say name="):
        ImageFolderOptions(path="somewhere/猫")
    assert ImageFolderOptions(path="somewhere/猫", name="cats").name == "cats"


def test_a_file_that_only_looks_like_a_picture_is_named(plain):
    (plain / "owl" / "page.jpg").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"no picture(?s:.)*owl.page\.jpg(?s:.)*remove it"):
        build(plain).split("train").fingerprint()


def outcome(folder: Path) -> str:
    """What a user gets to see: the fingerprints, or what is wrong."""
    try:
        dataset = build(folder)
        return " ".join(dataset.split(name).fingerprint() for name in dataset.splits)
    except DataError as error:
        return str(error)


def flips(path: Path, first: int, step: int) -> Iterator[None]:
    """Flips one bit after another of a file, each alone."""
    sound = path.read_bytes()
    for position in range(first, len(sound), step):
        damaged = bytearray(sound)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        yield


def test_one_flipped_byte_of_a_png_is_damage(tmp_path, write_tree):
    folder = write_tree(tmp_path / "birds", {"owl": 4, "wren": 4})
    path = folder / "owl" / "002.png"
    for _ in flips(path, 0, 23):
        assert str(path) in outcome(folder)


def test_one_flipped_byte_of_a_jpeg_that_moves_a_pixel_is_damage_or_another_fingerprint(tmp_path, write_tree):
    """JPEG has no checksums: what is looked at are the pixels."""

    def pixels() -> bytes:
        try:
            return np.asarray(Image.open(path)).tobytes()
        except OSError:
            return b"damaged"

    folder = write_tree(tmp_path / "birds", {"owl": 4, "wren": 4}, kind="jpeg")
    path = folder / "owl" / "002.jpeg"
    before, sound = outcome(folder), pixels()
    moved = 0
    for _ in flips(path, path.read_bytes().index(b"\xff\xda") + 14, 29):
        after = outcome(folder)
        assert (after != before) == (pixels() != sound)
        assert (str(path) in after) == (pixels() == b"damaged")
        moved += after != before
    assert moved > 5


def test_image_size(plain, write_tree):
    write_tree(plain, {"wren": 1}, kind="jpeg", size=(50, 40))
    with pytest.raises(DataError, match="image_size=32"):
        build(plain).split("train").fingerprint()
    dataset = build(plain, image_size=24)
    assert dataset.image_size == (24, 24)
    assert dataset.split("train").image(0).shape == (3, 24, 24)


def test_no_path():
    with pytest.raises(UsageError, match="imagefolder:path=FOLDER"):
        ImageFolder(ImageFolderOptions())


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"no such folder(?s:.)*nowhere(?s:.)*path=FOLDER"):
        build(tmp_path / "nowhere")


def test_a_file_is_no_folder(plain):
    with pytest.raises(DataError, match="this is a file"):
        build(plain / "owl" / "000.png")


def test_a_folder_that_cannot_be_read(plain, monkeypatch):
    def fail(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(plain))

    monkeypatch.setattr(files.os, "scandir", fail)
    with pytest.raises(DataError, match=r"Permission denied(?s:.)*birds(?s:.)*permissions"):
        build(plain)


def test_pictures_without_class_folders(tmp_path, write_tree):
    write_tree(tmp_path / "flat", {".": 4})
    with pytest.raises(DataError, match=r"no folder: two classes or more(?s:.)*cat"):
        build(tmp_path / "flat")


def test_one_class_is_too_few(tmp_path, write_tree):
    with pytest.raises(DataError, match="only the folder 'owl'"):
        build(write_tree(tmp_path / "one", {"owl": 4}))


def test_an_empty_class_is_named(plain):
    (plain / "dodo").mkdir()
    with pytest.raises(DataError, match=r"class 'dodo' has no picture(?s:.)*birds.dodo(?s:.)*remove the folder"):
        build(plain)


def test_a_class_of_test_that_is_not_in_train_is_named(divided, write_tree):
    write_tree(divided, {"test/fox": 1})
    with pytest.raises(DataError, match=r"class 'fox' is not in train(?s:.)*test.fox"):
        build(divided)


def test_a_class_may_be_missing_in_test(divided):
    shutil.rmtree(divided / "test" / "cat")
    assert build(divided).split("test").labels().tolist() == [1, 1]


def test_a_split_without_pictures(divided):
    shutil.rmtree(divided / "test")
    (divided / "test").mkdir()
    with pytest.raises(DataError, match=r"there is no picture(?s:.)*test"):
        build(divided)


def test_test_without_train(divided):
    shutil.rmtree(divided / "train")
    with pytest.raises(DataError, match="no train"):
        build(divided)


def test_a_seed_without_use_is_refused(divided):
    with pytest.raises(UsageError, match=r"own test split(?s:.)*seed=3"):
        build(divided, seed=3)


def test_a_name_that_is_no_text():
    """Such as Latin-1 bytes on Linux, which cannot be written into a record."""
    with pytest.raises(DataError, match=r"is no text(?s:.)*rename it"):
        files._text("caf\udce9", "somewhere")


def test_a_class_with_one_picture_is_told(plain, write_tree):
    write_tree(plain, {"dodo": 1}, first=700)
    with pytest.warns(ProbebenchWarning, match="1 classes have a single image"):
        dataset = build(plain)
    assert dataset.split("train").labels().bincount().tolist()[0] == 1


def test_unknown_split(plain):
    with pytest.raises(UsageError, match="no split 'val'"):
        build(plain).split("val")


@pytest.mark.parametrize(
    ("path", "name"),
    [("/data/My Birds_v2", "my-birds-v2"), ("/data/x/../birds/", "birds"), ("shards/Train.parquet", "train")],
)
def test_the_folders_name_is_the_datasets(path, name):
    assert ImageFolderOptions(path=path).name == name


def test_a_name_may_be_given():
    assert ImageFolderOptions(path="/data/x", name="birds").name == "birds"


def test_a_name_is_lower_case_words():
    with pytest.raises(ValueError, match="lower-case words"):
        ImageFolderOptions(path="/data/x", name="My Birds")
