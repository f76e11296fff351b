"""Datasets of the user's own files pass all conformance checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probebench.testing import parametrize_with_checks
from probebench_datasets.options import ImageFolderOptions, ParquetOptions
from probebench_datasets.user_data.imagefolder import ImageFolder
from probebench_datasets.user_data.parquet import Parquet

if TYPE_CHECKING:
    from pathlib import Path

PATHS: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def _files(tmp_path_factory, encoded, write_folders, write_parquet):
    root: Path = tmp_path_factory.mktemp("data")
    write_folders(root / "plain", {"cat": 10, "dog": 15}, kind="jpeg", size=(40, 30))
    write_folders(root / "splits", {"train/cat": 3, "train/dog": 3, "val/cat": 2, "test/dog": 2, "test/cat": 1})
    write_parquet(root / "one.parquet", [encoded(n) for n in range(20)], [n % 2 for n in range(20)])
    for name, numbers in (("train-00000-of-00001", range(9)), ("test-00000-of-00001", range(9, 14))):
        write_parquet(root / "shards" / f"{name}.parquet", [encoded(n) for n in numbers], [n % 2 for n in numbers])
    PATHS.update({name: str(root / name) for name in ("plain", "splits", "one.parquet", "shards")})


def folder() -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=PATHS["plain"], image_size=16))


def folder_with_splits() -> ImageFolder:
    return ImageFolder(ImageFolderOptions(path=PATHS["splits"]))


def parquet_file() -> Parquet:
    return Parquet(ParquetOptions(path=PATHS["one.parquet"], image_size=16))


def parquet_shards() -> Parquet:
    return Parquet(ParquetOptions(path=PATHS["shards"]))


@parametrize_with_checks([("dataset", build) for build in (folder, folder_with_splits, parquet_file, parquet_shards)])
def test_conformance(subject, check):
    check(subject)
