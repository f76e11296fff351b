"""Small published datasets: a few random images in the exact formats of the original files."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import savemat

from probebench_datasets.options import CifarOptions, FashionMNISTOptions, STL10Options, SVHNOptions
from probebench_datasets.published.cifar import (
    CIFAR10_BINARY,
    CIFAR10_PYTHON,
    CIFAR100_BINARY,
    CIFAR100_PYTHON,
    Cifar10,
    Cifar100,
)
from probebench_datasets.published.fashion_mnist import FASHION_MNIST, FashionMNIST
from probebench_datasets.published.stl10 import STL10, STL10_BINARY
from probebench_datasets.published.svhn import SVHN, SVHN_FOLDER, SVHN_ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from probebench.api import Dataset, Options
    from probebench_datasets.downloads.file_sets import FileSet
    from probebench_datasets.published.base import PublishedDataset


@dataclass(frozen=True)
class SmallDataset:
    """A published dataset on small files.

    Attributes:
        base: Class of the dataset.
        options: Class of its options.
        file_set: Its files, with the checksums of the small ones.
        root: The data root.
    """

    base: type[PublishedDataset]
    options: type[Options]
    file_set: FileSet
    root: Path

    @property
    def kind(self) -> type[PublishedDataset]:
        """The class of the dataset, with the small files in place of the published ones."""
        return type(f"Small{self.base.__name__}", (self.base,), {"file_sets": (self.file_set,)})

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.root / self.file_set.folder

    def build(self, **options: object) -> Dataset:
        """Builds the dataset."""
        return self.kind(self.options(root=str(self.root), **options))

    def fetch(self, progress: Callable[[str, int, int], None] = lambda *_: None) -> None:
        """Downloads the dataset."""
        self.kind.fetch(self.options(root=str(self.root)), progress)

    def with_current_checksums(self) -> SmallDataset:
        """Returns the same dataset with the checksums of its files as they are now."""
        parts = {
            part: {name: _md5(self.folder / name) for name in names} for part, names in self.file_set.parts.items()
        }
        return replace(self, file_set=replace(self.file_set, parts=parts))


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def _noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _labels_for(count: int, classes: int) -> np.ndarray:
    return (np.arange(count) * 7 + 3) % classes


class _Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, as in the official batches."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 - as in the base class

    def save_string(self, text):
        data = text if isinstance(text, bytes) else text.encode("latin1")
        head = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def _write_batch(path: Path, batch: object) -> None:
    with path.open("wb") as file:
        _Python2Pickler(file, 2).dump(batch)


def _write_cifar10_batch(folder: Path, name: str, images: np.ndarray, labels: np.ndarray) -> None:
    flat = images.reshape(len(images), -1)
    names = [f"picture_{index}.png" for index in range(len(images))]
    _write_batch(folder / name, {"batch_label": name, "labels": labels.tolist(), "data": flat, "filenames": names})


def _write_records(path: Path, heads: list[np.ndarray], images: np.ndarray) -> None:
    columns = [head.astype(np.uint8)[:, None] for head in heads]
    path.write_bytes(np.hstack([*columns, images.reshape(len(images), -1)]).tobytes())


def _write_cifar10_python(folder: Path) -> None:
    for number in range(1, 6):
        _write_cifar10_batch(folder, f"data_batch_{number}", _noise(number, 10, 3, 32, 32), _labels_for(10, 10))
    _write_cifar10_batch(folder, "test_batch", _noise(6, 10, 3, 32, 32), _labels_for(10, 10))
    _write_batch(folder / "batches.meta", {"label_names": list(Cifar10.classes)})


def _write_cifar10_binary(folder: Path) -> None:
    for number in range(1, 6):
        _write_records(folder / f"data_batch_{number}.bin", [_labels_for(10, 10)], _noise(number, 10, 3, 32, 32))
    _write_records(folder / "test_batch.bin", [_labels_for(10, 10)], _noise(6, 10, 3, 32, 32))


def _write_cifar100_python(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 200, "test": 100}.items()):
        fine, images = _labels_for(count, 100), _noise(seed, count, 3, 32, 32)
        batch = {"coarse_labels": (fine // 5).tolist(), "fine_labels": fine.tolist(), "batch_label": name}
        _write_batch(folder / name, batch | {"data": images.reshape(count, -1)})
    _write_batch(folder / "meta", {"fine_label_names": list(Cifar100.classes)})


def _write_cifar100_binary(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 200, "test": 100}.items()):
        fine = _labels_for(count, 100)
        _write_records(folder / f"{name}.bin", [fine // 5, fine], _noise(seed, count, 3, 32, 32))


def _write_stl10(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 40, "test": 20, "unlabeled": 12}.items()):
        # The files store an image column by column.
        (folder / f"{name}_X.bin").write_bytes(_noise(seed, count, 3, 96, 96).transpose(0, 1, 3, 2).tobytes())
        if name != "unlabeled":
            (folder / f"{name}_y.bin").write_bytes((_labels_for(count, 10) + 1).astype(np.uint8).tobytes())
    order = np.random.default_rng(9).permuted(np.tile(np.arange(40), (10, 1)), axis=1)[:, :30]
    (folder / "fold_indices.txt").write_text("".join(" ".join(map(str, line)) + " \n" for line in order.tolist()))
    (folder / "class_names.txt").write_text("\n".join(STL10.classes))


def _write_fashion_mnist(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 30, "t10k": 20}.items()):
        images = struct.pack(">4I", 0x803, count, 28, 28) + _noise(seed, count, 28, 28).tobytes()
        labels = struct.pack(">2I", 0x801, count) + _labels_for(count, 10).astype(np.uint8).tobytes()
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{name}-{kind}-ubyte").write_bytes(content)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))


def _write_svhn(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 30, "test": 20}.items()):
        images, labels = _noise(seed, count, 3, 32, 32), _labels_for(count, 10)
        content = {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)}
        savemat(folder / f"{name}_32x32.mat", content, do_compression=True)


_DATASETS = {
    "cifar10-python": (Cifar10, CifarOptions, CIFAR10_PYTHON, _write_cifar10_python),
    "cifar10-binary": (Cifar10, CifarOptions, CIFAR10_BINARY, _write_cifar10_binary),
    "cifar100-python": (Cifar100, CifarOptions, CIFAR100_PYTHON, _write_cifar100_python),
    "cifar100-binary": (Cifar100, CifarOptions, CIFAR100_BINARY, _write_cifar100_binary),
    "stl10": (STL10, STL10Options, STL10_BINARY, _write_stl10),
    "fashion-mnist": (FashionMNIST, FashionMNISTOptions, FASHION_MNIST, _write_fashion_mnist),
    "svhn": (SVHN, SVHNOptions, SVHN_FOLDER, _write_svhn),
    "svhn-torchvision": (SVHN, SVHNOptions, SVHN_ROOT, _write_svhn),
}


def _make(which: str, root: Path) -> SmallDataset:
    base, options, file_set, write = _DATASETS[which]
    small = SmallDataset(base, options, file_set, root)
    small.folder.mkdir(parents=True, exist_ok=True)
    write(small.folder)
    return small.with_current_checksums()


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """Returns ``noise(seed, *shape)``: random uint8 values."""
    return _noise


@pytest.fixture(scope="session")
def labels_for() -> Callable[[int, int], np.ndarray]:
    """Returns ``labels_for(count, classes)``: every class, and not in their order."""
    return _labels_for


@pytest.fixture(scope="session")
def md5() -> Callable[[Path], str]:
    """Returns ``md5(path)``."""
    return _md5


@pytest.fixture(scope="session")
def make() -> Callable[[str, Path], SmallDataset]:
    """Returns ``make(which, root)``, which writes the small files of a dataset below a data root."""
    return _make


@pytest.fixture(params=_DATASETS)
def small(request, tmp_path) -> SmallDataset:
    """Each of the small datasets."""
    return _make(request.param, tmp_path / "root")


@pytest.fixture(autouse=True)
def _data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
