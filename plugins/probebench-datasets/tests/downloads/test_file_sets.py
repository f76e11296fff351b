"""Missing files: the error names them, their folder, and the command that downloads them."""

from __future__ import annotations

import pytest

from probebench.api import DataError
from probebench_datasets.options import CifarOptions, FashionMNISTOptions
from probebench_datasets.published.cifar import CIFAR10_BINARY, Cifar10
from probebench_datasets.published.fashion_mnist import FashionMNIST


def test_a_missing_dataset_is_reported_with_files_folders_and_command(tmp_path, monkeypatch):
    root = tmp_path / "data"
    monkeypatch.setenv("PROBEBENCH_DATA", str(root))
    with pytest.raises(DataError) as error:
        Cifar10(CifarOptions()).split("test")
    assert str(error.value) == (
        "files of cifar10 are missing, of its part test: test_batch\n"
        f"  in: {root}/cifar-10-batches-py or {root}/cifar-10-batches-bin\n"
        "  try: probebench data download cifar10; without a network connection, copy cifar-10-python.tar.gz "
        "(MD5 c58f30108f718f92721af3b95e74349a, https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz) "
        f"to {root} first"
    )


def test_of_an_incomplete_file_set_the_missing_files_are_named(tmp_path):
    folder = tmp_path / CIFAR10_BINARY.folder
    folder.mkdir()
    for name in CIFAR10_BINARY.parts["train"]:
        if name != "data_batch_4.bin":
            (folder / name).touch()
    with pytest.raises(DataError, match=r"missing, of its part train: data_batch_4\.bin") as error:
        Cifar10(CifarOptions(root=str(tmp_path))).split("train")
    assert error.value.where == str(folder)
    assert "cifar-10-binary.tar.gz" in error.value.hint


def test_files_without_an_archive_are_named_with_their_own_folder(tmp_path):
    with pytest.raises(DataError) as error:
        FashionMNIST(FashionMNISTOptions(root=str(tmp_path))).split("test")
    assert "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz" in error.value.what
    assert error.value.hint.endswith(f"to {tmp_path}/FashionMNIST/raw")
    assert "train-images" not in str(error.value)
