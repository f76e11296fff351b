"""SVHN, cropped digits, from its MATLAB files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.io import loadmat

from probebench_datasets.downloads.file_sets import FileSet, Source
from probebench_datasets.images.splits import ArraySplit
from probebench_datasets.published.base import PublishedDataset, format_error

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from probebench.api import DataError

_SITE = "http://ufldl.stanford.edu/housenumbers/"
_PARTS = {
    "train": {"train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373"},
    "test": {"test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"},
}
_SOURCES = tuple(Source(name, _SITE + name, md5) for part in _PARTS.values() for name, md5 in part.items())

SVHN_FOLDER = FileSet(folder="svhn", parts=_PARTS, sources=_SOURCES)
SVHN_ROOT = FileSet(folder="", parts=_PARTS, sources=_SOURCES)
"""The same files without a folder, as torchvision stores them."""


class SVHN(PublishedDataset):
    """Street View House Numbers, cropped: 73,257 train and 26,032 test images of digits, 32x32.

    The 531,131 easier images called ``extra`` are not included.
    """

    name = "svhn"
    file_sets = (SVHN_FOLDER, SVHN_ROOT)
    classes = tuple("0123456789")
    image_size = (32, 32)
    flips = False

    def _open(self, name: str) -> ArraySplit:
        _, (path,) = self._files.part(name)
        images, labels = _read_matrices(path)
        return ArraySplit(images.transpose(3, 2, 0, 1), labels % 10)  # the digit 0 has the label 10


fetch_svhn = SVHN.fetch


def _read_matrices(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Reads ``X``, uint8 ``(32, 32, 3, N)``, and ``y``, int64 ``(N,)``."""
    try:
        content = loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"], content["y"].reshape(-1).astype(np.int64)
    except Exception as error:  # for damaged files, SciPy raises anything, also an OSError without a number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _svhn_error(path, f"{type(error).__name__}: {error}") from error
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
        raise _svhn_error(path, f"X is {images.dtype} {images.shape}, with {len(labels)} labels")
    if len(labels) and not (labels.min() >= 1 and labels.max() <= len(SVHN.classes)):
        raise _svhn_error(path, f"labels reach from {labels.min()} to {labels.max()}, not from 1 to 10")
    return images, labels


def _svhn_error(path: Path, why: str) -> DataError:
    return format_error(path, f"{path.name} is not a file of SVHN: {why}")
