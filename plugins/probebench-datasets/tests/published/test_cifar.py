"""CIFAR: both formats are one dataset, and a pickle runs no code."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from probebench.api import DataError
from probebench_datasets.published.cifar import Cifar10, Cifar100


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_both_formats_are_one_dataset(tmp_path, make, name):
    datasets = [make(f"{name}-{kind}", tmp_path / kind).build() for kind in ("python", "binary")]
    for split in ("train", "test"):
        assert len({dataset.split(split).fingerprint() for dataset in datasets}) == 1
        assert len({tuple(dataset.split(split).digests()) for dataset in datasets}) == 1


def test_names_of_classes():
    assert len(Cifar100.classes) == 100
    assert list(Cifar100.classes) == sorted(Cifar100.classes)
    assert list(Cifar10.classes) == sorted(Cifar10.classes)


class Evil:
    def __reduce__(self):
        return (Path.write_text, (Path("evil"), "ran"))


@pytest.mark.parametrize("batch", [Evil(), {"labels": Evil(), "data": np.zeros((1, 3072), np.uint8)}])
def test_a_pickle_that_runs_code_is_refused(tmp_path, make, monkeypatch, batch):
    """Even if its checksum is the expected one."""
    monkeypatch.chdir(tmp_path)
    small = make("cifar10-python", tmp_path)
    (small.folder / "test_batch").write_bytes(pickle.dumps(batch))
    with pytest.raises(DataError, match=r"test_batch is not a batch of CIFAR: it refers to pathlib"):
        small.with_current_checksums().build().split("test")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("which", "file", "damage", "message"),
    [
        ("cifar10-python", "test_batch", lambda _: pickle.dumps([1]), "holds a list"),
        ("cifar10-python", "test_batch", lambda _: pickle.dumps({"data": np.zeros((2, 3072))}), "its data are float64"),
        ("cifar10-python", "test_batch", lambda data: data[:-200], "is not a batch of CIFAR"),
        ("cifar10-binary", "test_batch.bin", lambda data: data[:-1], "30,729 bytes are not a whole number of records"),
        ("cifar100-binary", "test.bin", lambda data: b"", "0 bytes are not a whole number of records of 3074 bytes"),
    ],
)
def test_files_in_another_format(tmp_path, make, which, file, damage, message):
    """Even if their checksums are the expected ones."""
    small = make(which, tmp_path)
    path = small.folder / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as error:
        small.with_current_checksums().build().split("test")
    assert error.value.where == str(path)
