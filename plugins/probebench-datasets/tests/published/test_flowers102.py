"""Flowers-102 as published: which picture is in which split, and what it shows."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import loadmat, savemat

from probebench.api import DataError, UsageError
from probebench_datasets.options import Flowers102Options
from probebench_datasets.published import flowers102
from probebench_datasets.published.flowers102 import Flowers102

SHARED = Path(os.environ.get("PROBEBENCH_SHARED", Path(__file__).parents[5] / "shared"))
OFFICIAL = SHARED / "data" / "flowers102"

# Numbers of the pictures count from 1, and so do the labels; the splits are not in the order of the numbers.
LABELS = [102, 1, 2, 1, 102, 2, 77, 77, 1]
SPLITS = {"trnid": [9, 2, 5], "valid": [4, 3], "tstid": [1, 8, 6, 7]}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_mat(folder: Path, labels: list[int], splits: dict[str, list[int]]) -> None:
    """The two files in the form of the published ones: uint8 and uint16 rows, MATLAB 5."""
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    savemat(folder / "setid.mat", {name: np.array([numbers], np.uint16) for name, numbers in splits.items()})


def declare(monkeypatch, folder: Path) -> None:
    """Makes the files there the published ones."""
    for name, attribute in (("imagelabels.mat", "LABELS"), ("setid.mat", "SPLITS")):
        monkeypatch.setattr(flowers102, attribute, (name, md5(folder / name)))


@pytest.fixture
def root(tmp_path, encoded, monkeypatch) -> Path:
    folder = tmp_path / "data" / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 10):
        data = encoded(number, "jpeg", size=(40 + number, 30))
        (folder / "jpg" / f"image_{number:05d}.jpg").write_bytes(data)
    write_mat(folder, LABELS, SPLITS)
    declare(monkeypatch, folder)
    return tmp_path / "data"


def build(root: Path, **options: object) -> Flowers102:
    return Flowers102(Flowers102Options(root=str(root), **options))


def test_card(root):
    dataset = build(root)
    assert dataset.metric == "mean_per_class"
    assert dataset.splits == ("train", "val", "test")
    assert len(dataset.classes) == len(set(dataset.classes)) == 102
    assert (dataset.classes[0], dataset.classes[76], dataset.classes[101]) == (
        "pink primrose",
        "passion flower",
        "blackberry lily",
    )
    assert dataset.image_size == (64, 64)


def test_numbers_and_labels_count_from_1(root):
    """Computed with nothing of ours but the words: number n is image_0000n.jpg and has the n-th label, minus one."""
    dataset = build(root, image_size=30)
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        part = dataset.split(split)
        assert part.labels().tolist() == [LABELS[number - 1] - 1 for number in SPLITS[key]]
        for index, number in enumerate(SPLITS[key]):
            picture = np.asarray(Image.open(root / "flowers-102" / "jpg" / f"image_{number:05d}.jpg"))
            left = round((picture.shape[1] - 30) / 2)
            cut = torch.from_numpy(picture[:, left : left + 30].copy()).permute(2, 0, 1)
            assert torch.equal(part.image(index), cut)


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="needs PROBEBENCH_SHARED=folder with data/flowers102")
def test_official_files(tmp_path, monkeypatch):
    """All 8,189 images are in one split each, ten a class in train and val; label and file belong together."""
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for name in ("imagelabels.mat", "setid.mat"):
        (folder / name).write_bytes((OFFICIAL / name).read_bytes())
    for number in range(1, 8190):
        (folder / "jpg" / f"image_{number:05d}.jpg").touch()
    dataset = build(tmp_path)  # the published checksums hold
    labels = {name: dataset.split(name).labels() for name in dataset.splits}
    assert {name: len(values) for name, values in labels.items()} == {"train": 1020, "val": 1020, "test": 6149}
    assert labels["train"].bincount().tolist() == labels["val"].bincount().tolist() == [10] * 102
    assert (int(labels["test"].bincount().min()), int(labels["test"].bincount().max())) == (20, 238)
    truth = loadmat(OFFICIAL / "imagelabels.mat")["labels"][0]
    sets = loadmat(OFFICIAL / "setid.mat")
    numbers: list[int] = []
    for name, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        split = dataset.split(name)
        files = vars(vars(split)["_images"])["_pictures"].files
        found = [int(Path(file).stem.removeprefix("image_")) for file in files]
        assert found == sets[key][0].tolist()
        assert split.labels().tolist() == [int(truth[number - 1]) - 1 for number in found]
        numbers += found
    assert sorted(numbers) == list(range(1, 8190))


def test_without_files_the_error_says_which_and_how(tmp_path):
    with pytest.raises(
        DataError, match=r"imagelabels\.mat is missing(?s:.)*flowers-102(?s:.)*data download flowers102:root"
    ):
        build(tmp_path)


def test_the_data_root_may_be_in_the_environment(root, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_DATA", str(root))
    assert len(Flowers102(Flowers102Options()).split("train")) == 3


def test_a_missing_picture_is_named(root):
    (root / "flowers-102" / "jpg" / "image_00005.jpg").unlink()
    with pytest.raises(
        DataError, match=r"1 pictures of flowers102 are missing, such as image_00005\.jpg(?s:.)*download"
    ):
        build(root)


@pytest.mark.parametrize("name", ["imagelabels.mat", "setid.mat"])
def test_one_flipped_byte_in_a_mat_file_is_damage(root, name):
    path = root / "flowers-102" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s){name}.*md5.*{name}.*remove this file, then probebench data download"):
        build(root)


def test_one_flipped_byte_in_a_picture_is_another_fingerprint(root):
    path = root / "flowers-102" / "jpg" / "image_00002.jpg"
    before, sound = build(root).split("train").fingerprint(), bytearray(path.read_bytes())
    sound[sound.index(b"\xff\xda") + 30] ^= 0x10
    path.write_bytes(sound)
    assert build(root).split("train").fingerprint() != before


def test_a_truncated_picture_is_named(root):
    path = root / "flowers-102" / "jpg" / "image_00002.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be decoded(?s:.)*image_00002\.jpg"):
        build(root).split("train").image(0)


def test_unknown_split(root):
    with pytest.raises(UsageError, match="no split 'all'"):
        build(root).split("all")


class TestFetch:
    """Downloading, from a web that is a folder."""

    @pytest.fixture
    def asked(self, root, monkeypatch, tmp_path) -> list[str]:
        """Serves the published files; gives the names that were asked for."""
        web, asked = tmp_path / "web", []
        web.mkdir()
        for name in ("imagelabels.mat", "setid.mat"):
            (web / name).write_bytes((root / "flowers-102" / name).read_bytes())
        with tarfile.open(web / "102flowers.tgz", "w:gz") as tar:
            tar.add(root / "flowers-102" / "jpg", "jpg")
        monkeypatch.setattr(flowers102, "ARCHIVE", ("102flowers.tgz", md5(web / "102flowers.tgz")))

        def download(url: str, target: Path, *, md5: str, progress: object) -> None:
            name = url.removeprefix("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/")
            if target.exists():
                return
            asked.append(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((web / name).read_bytes())
            assert hashlib.md5(target.read_bytes()).hexdigest() == md5

        monkeypatch.setattr(flowers102, "download", download)
        return asked

    def test_all_of_it(self, asked, tmp_path, root):
        flowers102.fetch(Flowers102Options(root=str(tmp_path / "new")), lambda *_: None)
        assert asked == ["imagelabels.mat", "setid.mat", "102flowers.tgz"]
        new, old = build(tmp_path / "new"), build(root)
        assert [new.split(n).fingerprint() for n in new.splits] == [old.split(n).fingerprint() for n in old.splits]
        assert not (tmp_path / "new" / "flowers-102" / "102flowers.tgz").exists()

    def test_what_is_there_is_not_downloaded(self, asked, root):
        flowers102.fetch(Flowers102Options(root=str(root)), lambda *_: None)
        assert asked == []

    def test_a_missing_picture_needs_the_archive(self, asked, root):
        (root / "flowers-102" / "jpg" / "image_00005.jpg").unlink()
        flowers102.fetch(Flowers102Options(root=str(root)), lambda *_: None)
        assert asked == ["102flowers.tgz"]
        assert len(build(root).split("train")) == 3

    def test_an_archive_of_the_users_stays(self, asked, tmp_path):
        place = tmp_path / "new" / "flowers-102"
        place.mkdir(parents=True)
        (place / "102flowers.tgz").write_bytes((tmp_path / "web" / "102flowers.tgz").read_bytes())
        flowers102.fetch(Flowers102Options(root=str(tmp_path / "new")), lambda *_: None)
        assert asked == ["imagelabels.mat", "setid.mat"]
        assert (place / "102flowers.tgz").exists()
