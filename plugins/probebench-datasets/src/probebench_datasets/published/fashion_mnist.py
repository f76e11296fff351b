"""Fashion-MNIST, from its four compressed IDX files; grey is repeated as RGB."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from probebench_datasets.downloads.file_sets import FileSet, Source
from probebench_datasets.images.splits import ArraySplit
from probebench_datasets.published.base import PublishedDataset, format_error

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from probebench.api import DataError
    from probebench_datasets.options import FashionMNISTOptions

_SITE = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_IMAGES, _LABELS = 3, 1
"""Numbers of dimensions of the two kinds of files."""

_UINT8 = 8
"""The code of their type of values."""

_PARTS = {
    "train": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    },
    "test": {
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
}
FASHION_MNIST = FileSet(
    folder="FashionMNIST/raw",
    parts=_PARTS,
    sources=tuple(Source(name, _SITE + name, md5) for part in _PARTS.values() for name, md5 in part.items()),
)


class FashionMNIST(PublishedDataset):
    """Fashion-MNIST: 60,000 train and 10,000 test images of ten classes of clothing, 28x28."""

    name = "fashion-mnist"
    file_sets = (FASHION_MNIST,)
    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )

    def __init__(self, options: FashionMNISTOptions) -> None:
        super().__init__(options)
        side = options.image_size or 28
        self.image_size = (side, side)

    def _open(self, name: str) -> ArraySplit:
        _, (image_file, label_file) = self._files.part(name)
        grey, labels = _read_idx(image_file, _IMAGES), _read_idx(label_file, _LABELS)
        if len(grey) != len(labels):
            raise format_error(label_file, f"{label_file.name} has {len(labels)} labels for {len(grey)} images")
        grey = _resized(grey, self.image_size[0])
        return ArraySplit(np.broadcast_to(grey[:, None], (len(grey), 3, *self.image_size)), labels.astype(np.int64))


fetch_fashion_mnist = FashionMNIST.fetch


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Reads an IDX file of bytes: type and number of dimensions, the dimensions, the values."""
    try:
        content = gzip.decompress(path.read_bytes())
        kind, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error, ValueError) as error:
        raise _idx_error(path, dimensions, str(error)) from error
    if kind != _UINT8 << 8 | dimensions:
        raise _idx_error(path, dimensions, f"it begins with {kind:08x}")
    return values


def _idx_error(path: Path, dimensions: int, why: str) -> DataError:
    return format_error(path, f"{path.name} is not an IDX file of bytes with {dimensions} dimensions: {why}")


def _resized(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resizes grey images: bicubic and antialiased, as image files are."""
    if images.shape[1:] == (side, side):
        return images
    filter_ = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), filter_)) for image in images])
