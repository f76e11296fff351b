"""Flowers-102: the split and the label of each image, as published."""

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

# Numbers of images count from 1, and so do labels; the splits are not in the order of the numbers.
LABELS = [102, 1, 2, 1, 102, 2, 77, 77, 1]
SPLITS = {"trnid": [9, 2, 5], "valid": [4, 3], "tstid": [1, 8, 6, 7]}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def write_mat(folder: Path, labels: list[int], splits: dict[str, list[int]]) -> None:
    """Writes the two files in the format of the published ones: uint8 and uint16 rows, MATLAB 5."""
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    savemat(folder / "setid.mat", {name: np.array([numbers], np.uint16) for name, numbers in splits.items()})


def use_checksums_of(monkeypatch, folder: Path) -> None:
    """Replaces the published checksums by those of the files in a folder."""
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
    use_checksums_of(monkeypatch, folder)
    return tmp_path / "data"


def build(root: Path, **options: object) -> Flowers102:
    return Flowers102(Flowers102Options(root=str(root), **options))


def test_classes_splits_and_metric(root):
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
    """By the published description: number n is image_0000n.jpg and has the n-th label, minus one."""
    dataset = build(root, image_size=30)
    for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        part = dataset.split(split)
        assert part.labels().tolist() == [LABELS[number - 1] - 1 for number in SPLITS[key]]
        for index, number in enumerate(SPLITS[key]):
            image = np.asarray(Image.open(root / "flowers-102" / "jpg" / f"image_{number:05d}.jpg"))
            left = round((image.shape[1] - 30) / 2)
            cropped = torch.from_numpy(image[:, left : left + 30].copy()).permute(2, 0, 1)
            assert torch.equal(part.image(index), cropped)


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="needs PROBEBENCH_SHARED=folder with data/flowers102")
def test_official_files(tmp_path, monkeypatch):
    """Each of the 8,189 images is in one split, train and val have ten of each class, and labels match files."""
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for name in ("imagelabels.mat", "setid.mat"):
        (folder / name).write_bytes((OFFICIAL / name).read_bytes())
    for number in range(1, 8190):
        (folder / "jpg" / f"image_{number:05d}.jpg").touch()
    dataset = build(tmp_path)  # with the published checksums
    labels = {name: dataset.split(name).labels() for name in dataset.splits}
    assert {name: len(values) for name, values in labels.items()} == {"train": 1020, "val": 1020, "test": 6149}
    assert labels["train"].bincount().tolist() == labels["val"].bincount().tolist() == [10] * 102
    assert (int(labels["test"].bincount().min()), int(labels["test"].bincount().max())) == (20, 238)
    truth = loadmat(OFFICIAL / "imagelabels.mat")["labels"][0]
    sets = loadmat(OFFICIAL / "setid.mat")
    numbers: list[int] = []
    for name, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid")):
        split = dataset.split(name)
        files = vars(vars(split)["_images"])["_encoded"].files
        of_split = [int(Path(file).stem.removeprefix("image_")) for file in files]
        assert of_split == sets[key][0].tolist()
        assert split.labels().tolist() == [int(truth[number - 1]) - 1 for number in of_split]
        numbers += of_split
    assert sorted(numbers) == list(range(1, 8190))


def test_without_files_the_error_names_file_and_command(tmp_path):
    with pytest.raises(
        DataError, match=r"is missing: imagelabels\.mat(?s:.)*flowers-102(?s:.)*data download flowers102:root"
    ):
        build(tmp_path)


def test_the_data_root_may_be_in_the_environment(root, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_DATA", str(root))
    assert len(Flowers102(Flowers102Options()).split("train")) == 3


def test_a_missing_image_is_named(root):
    (root / "flowers-102" / "jpg" / "image_00005.jpg").unlink()
    with pytest.raises(DataError, match=r"files of flowers102 are missing: 1, such as image_00005\.jpg(?s:.)*download"):
        build(root)


@pytest.mark.parametrize("name", ["imagelabels.mat", "setid.mat"])
def test_one_flipped_byte_in_a_mat_file_is_damage(root, name):
    path = root / "flowers-102" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"(?s){name}.*MD5.*{name}.*delete this file, then run probebench data"):
        build(root)


def test_one_flipped_byte_in_an_image_changes_the_fingerprint(root):
    path = root / "flowers-102" / "jpg" / "image_00002.jpg"
    before, content = build(root).split("train").fingerprint(), bytearray(path.read_bytes())
    content[content.index(b"\xff\xda") + 30] ^= 0x10
    path.write_bytes(content)
    assert build(root).split("train").fingerprint() != before


def test_a_truncated_image_is_named(root):
    path = root / "flowers-102" / "jpg" / "image_00002.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot be decoded(?s:.)*image_00002\.jpg"):
        build(root).split("train").image(0)


def test_unknown_split(root):
    with pytest.raises(UsageError, match="no split 'all'"):
        build(root).split("all")


class TestFetch:
    """Downloads from a folder in place of the web."""

    @pytest.fixture
    def requests(self, root, monkeypatch, tmp_path) -> list[str]:
        """Serves the published files; returns the requested names."""
        web, requests = tmp_path / "web", []
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
            requests.append(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((web / name).read_bytes())
            assert hashlib.md5(target.read_bytes()).hexdigest() == md5

        monkeypatch.setattr(flowers102, "download", download)
        return requests

    def test_all_files(self, requests, tmp_path, root):
        flowers102.fetch(Flowers102Options(root=str(tmp_path / "new")), lambda *_: None)
        assert requests == ["imagelabels.mat", "setid.mat", "102flowers.tgz"]
        new, old = build(tmp_path / "new"), build(root)
        assert [new.split(n).fingerprint() for n in new.splits] == [old.split(n).fingerprint() for n in old.splits]
        assert not (tmp_path / "new" / "flowers-102" / "102flowers.tgz").exists()

    def test_existing_files_are_not_downloaded(self, requests, root):
        flowers102.fetch(Flowers102Options(root=str(root)), lambda *_: None)
        assert requests == []

    def test_a_missing_image_needs_the_archive(self, requests, root):
        (root / "flowers-102" / "jpg" / "image_00005.jpg").unlink()
        flowers102.fetch(Flowers102Options(root=str(root)), lambda *_: None)
        assert requests == ["102flowers.tgz"]
        assert len(build(root).split("train")) == 3

    def test_an_archive_copied_by_the_user_is_kept(self, requests, tmp_path):
        folder = tmp_path / "new" / "flowers-102"
        folder.mkdir(parents=True)
        (folder / "102flowers.tgz").write_bytes((tmp_path / "web" / "102flowers.tgz").read_bytes())
        flowers102.fetch(Flowers102Options(root=str(tmp_path / "new")), lambda *_: None)
        assert requests == ["imagelabels.mat", "setid.mat"]
        assert (folder / "102flowers.tgz").exists()
