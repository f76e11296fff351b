"""Datasets made of files keep every law of their contract, on small sets in the formats they are published in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import savemat

from probebench.testing import parametrize_with_checks
from probebench_datasets.downloads import checksums
from probebench_datasets.options import Flowers102Options, ImageFolderOptions, ParquetOptions
from probebench_datasets.published.flowers102 import Flowers102
from probebench_datasets.user_data.imagefolder import ImageFolder
from probebench_datasets.user_data.parquet import Parquet

if TYPE_CHECKING:
    from pathlib import Path

PLACES: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def _places(tmp_path_factory, encoded, write_tree, write_parquet):
    root: Path = tmp_path_factory.mktemp("data")
    write_tree(root / "plain", {"cat": 10, "dog": 15}, kind="jpeg", size=(40, 30))
    write_tree(root / "divided", {"train/cat": 3, "train/dog": 3, "val/cat": 2, "test/dog": 2, "test/cat": 1})
    write_parquet(root / "one.parquet", [encoded(n) for n in range(20)], [n % 2 for n in range(20)])
    for name, numbers in (("train-00000-of-00001", range(9)), ("test-00000-of-00001", range(9, 14))):
        write_parquet(root / "shards" / f"{name}.parquet", [encoded(n) for n in numbers], [n % 2 for n in numbers])
    # Of each class one picture for training; the first three classes also have others.
    (root / "flowers-102" / "jpg").mkdir(parents=True)
    for number in range(1, 109):
        path = root / "flowers-102" / "jpg" / f"image_{number:05d}.jpg"
        path.write_bytes(encoded(number, "jpeg", size=(24, 20)))
    labels = np.array([[*range(1, 103), 1, 2, 3, 1, 2, 3]], np.uint8)
    savemat(root / "flowers-102" / "imagelabels.mat", {"labels": labels})
    sets = {"trnid": range(1, 103), "valid": range(103, 106), "tstid": range(106, 109)}
    savemat(root / "flowers-102" / "setid.mat", {k: np.array([v], np.uint16) for k, v in sets.items()})
    names = ("plain", "divided", "one.parquet", "shards")
    PLACES.update({name: str(root / name) for name in names}, root=str(root))


@pytest.fixture(autouse=True)
def _these_are_the_published_files(monkeypatch):
    monkeypatch.setattr(checksums, "require", lambda *_, **__: None)


def plain_folder() -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=PLACES["plain"], image_size=16))


def divided_folder() -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=PLACES["divided"]))


def one_parquet() -> Parquet:
    return Parquet(ParquetOptions(path=PLACES["one.parquet"], image_size=16))


def parquet_shards() -> Parquet:
    return Parquet(ParquetOptions(path=PLACES["shards"]))


def flowers() -> Flowers102:
    return Flowers102(Flowers102Options(root=PLACES["root"], image_size=16))


@parametrize_with_checks(
    [("dataset", build) for build in (plain_folder, divided_folder, one_parquet, parquet_shards, flowers)]
)
def test_conformance(subject, check):
    check(subject)
