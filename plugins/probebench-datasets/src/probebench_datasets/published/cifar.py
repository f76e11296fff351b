"""CIFAR-10 and CIFAR-100, from pickled batches or binary records. Both formats give the same splits."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from probebench_datasets.downloads.file_sets import FileSet, Source
from probebench_datasets.images.splits import ArraySplit
from probebench_datasets.published.base import PublishedDataset, format_error

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from probebench.api import DataError

_SITE = "https://www.cs.toronto.edu/~kriz/"
_PIXELS = 3 * 32 * 32

_FINE = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
"""The fine classes of CIFAR-100, in the order of their labels."""

CIFAR10_PYTHON = FileSet(
    folder="cifar-10-batches-py",
    parts={
        "train": {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        "test": {"test_batch": "40351d587109b95175f43aff81a1287e"},
    },
    sources=(Source("cifar-10-python.tar.gz", _SITE + "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
)
CIFAR10_BINARY = FileSet(
    folder="cifar-10-batches-bin",
    parts={
        "train": {
            "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
            "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
            "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
            "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
            "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        },
        "test": {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
    },
    sources=(Source("cifar-10-binary.tar.gz", _SITE + "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
)
CIFAR100_PYTHON = FileSet(
    folder="cifar-100-python",
    parts={
        "train": {"train": "16019d7e3df5f24257cddd939b257f8d"},
        "test": {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    },
    sources=(Source("cifar-100-python.tar.gz", _SITE + "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
)
CIFAR100_BINARY = FileSet(
    folder="cifar-100-binary",
    parts={
        "train": {"train.bin": "6172c7755cfe09b2fe270c85cebc1b15"},
        "test": {"test.bin": "4499cfba6c016c1be1438163640a0898"},
    },
    sources=(Source("cifar-100-binary.tar.gz", _SITE + "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),),
)


class _Cifar(PublishedDataset):
    """The base class of CIFAR-10 and CIFAR-100.

    Attributes:
        label_key: Key of the labels in a pickled batch.
        label_bytes: Bytes before the pixels in a binary record; the last of them is the label.
    """

    image_size = (32, 32)
    label_key: ClassVar[str]
    label_bytes: ClassVar[int]

    def _open(self, name: str) -> ArraySplit:
        file_set, paths = self._files.part(name)
        binary = file_set.folder.endswith(("-bin", "-binary"))
        parts = [self._binary(path) if binary else self._pickled(path) for path in paths]
        images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return ArraySplit(images.reshape(-1, 3, 32, 32), labels.astype(np.int64))

    def _pickled(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        batch = _unpickle(path)
        images, labels = np.asarray(batch.get("data")), np.asarray(batch.get(self.label_key))
        if images.dtype != np.uint8 or images.shape != (len(labels.flat), _PIXELS):
            raise _batch_error(path, f"its data are {images.dtype} {images.shape}")
        return images, labels

    def _binary(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        content = np.fromfile(path, np.uint8)
        record = self.label_bytes + _PIXELS
        if not len(content) or len(content) % record:
            raise _batch_error(path, f"{len(content):,} bytes are not a whole number of records of {record} bytes")
        records = content.reshape(-1, record)
        return records[:, self.label_bytes :], records[:, self.label_bytes - 1]


class Cifar10(_Cifar):
    """CIFAR-10: 50,000 train and 10,000 test images of ten classes, 32x32."""

    name = "cifar10"
    file_sets = (CIFAR10_PYTHON, CIFAR10_BINARY)
    label_key = "labels"
    label_bytes = 1
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar100(_Cifar):
    """CIFAR-100: 50,000 train and 10,000 test images of a hundred (fine) classes, 32x32."""

    name = "cifar100"
    file_sets = (CIFAR100_PYTHON, CIFAR100_BINARY)
    label_key = "fine_labels"
    label_bytes = 2  # the coarse label, then the fine one
    classes = tuple(_FINE.split())


fetch_cifar10 = Cifar10.fetch
fetch_cifar100 = Cifar100.fetch


class _ArraysOnly(pickle.Unpickler):
    """Reads lists and NumPy arrays, and refuses everything else, because a pickle can call any function."""

    allowed: ClassVar[frozenset[tuple[str, str]]] = frozenset(
        {
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not allowed")
        return super().find_class(module, name)


def _unpickle(path: Path) -> dict[str, Any]:
    """Reads a batch without running code in it, although its checksum was verified before."""
    try:
        # The official batches were written by Python 2, whose strings are bytes.
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except OSError:
        raise
    except Exception as error:  # damaged pickles raise anything
        raise _batch_error(path, str(error)) from error
    if not isinstance(batch, dict):
        raise _batch_error(path, f"it holds a {type(batch).__name__}, not a dict")
    return batch


def _batch_error(path: Path, why: str) -> DataError:
    return format_error(path, f"{path.name} is not a batch of CIFAR: {why}")
