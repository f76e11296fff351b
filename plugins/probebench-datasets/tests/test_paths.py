"""The files that a dataset reads, as the core asks for them before it builds anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from probebench_datasets import paths
from probebench_datasets.options import (
    CifarOptions,
    FashionMNISTOptions,
    Flowers102Options,
    ImageFolderOptions,
    STL10Options,
    SVHNOptions,
)
from probebench_datasets.published import cifar, fashion_mnist, flowers102, stl10, svhn


@pytest.mark.parametrize(
    ("listed", "dataset", "options"),
    [
        (paths.cifar10_files, cifar.Cifar10, CifarOptions),
        (paths.cifar100_files, cifar.Cifar100, CifarOptions),
        (paths.fashion_mnist_files, fashion_mnist.FashionMNIST, FashionMNISTOptions),
        (paths.stl10_files, stl10.STL10, STL10Options),
        (paths.svhn_files, svhn.SVHN, SVHNOptions),
    ],
)
def test_every_file_of_every_published_format_is_covered(listed, dataset, options, tmp_path):
    covered = listed(options(root=str(tmp_path)))
    for file_set in dataset.file_sets:
        for name in (name for part in file_set.parts.values() for name in part):
            file = tmp_path / file_set.folder / name
            assert any(file == path or path in file.parents for path in covered), file


def test_the_data_root_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_DATA", str(tmp_path / "data"))
    assert paths.cifar10_files(CifarOptions()) == tuple(
        tmp_path / "data" / name for name in ("cifar-10-batches-py", "cifar-10-batches-bin")
    )
    assert flowers102._folder(Flowers102Options()) in paths.flowers102_files(Flowers102Options())


def test_a_relative_path_is_that_of_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.user_files(ImageFolderOptions(path="photos")) == (Path(tmp_path / "photos"),)
