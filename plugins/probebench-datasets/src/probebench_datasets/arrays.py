"""Splits whose images are one uint8 array, in memory or in a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from probebench.api import DataError, Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

_CHUNK = 1024
"""Images that are made contiguous at once."""


def image_digest(image: NDArray[np.uint8]) -> bytes:
    """Digest of one image, by its shape and its values: equal images have equal ones, whatever file they are from."""
    total = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    total.update(np.ascontiguousarray(image).data)
    return total.digest()


class ArraySplit(Split):
    """Images and labels as arrays.

    Args:
        images: uint8 ``(N, 3, H, W)``, with any strides: a transposed or repeated view costs no memory.
        labels: int64 ``(N,)``.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> Tensor:
        """A copy of one image."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return torch.from_numpy(np.array(self._images[index], order="C"))

    def labels(self) -> Tensor:
        """A copy of the labels."""
        return torch.from_numpy(self._labels.copy())

    def fingerprint(self) -> str:
        """Sum over all images and labels."""
        total = hashlib.sha256(str(self._images.shape).encode())
        for start in range(0, len(self._images), _CHUNK):
            total.update(np.ascontiguousarray(self._images[start : start + _CHUNK]).data)
        total.update(str(self._labels.shape).encode())
        total.update(np.ascontiguousarray(self._labels).data)
        return total.hexdigest()

    def digests(self) -> Sequence[bytes]:
        """Of all images."""
        return [image_digest(image) for image in self._images]


@dataclass(frozen=True)
class MappedImages:
    """Images in a file without header, one after the other: read where they lie, when they are asked for.

    Attributes:
        path: The file.
        shape: Of one image, as it is stored.
        axes: Order of these axes that gives ``(3, H, W)``.
    """

    path: Path
    shape: tuple[int, int, int]
    axes: tuple[int, int, int]

    def open(self) -> NDArray[np.uint8]:
        """All images: uint8 ``(N, 3, H, W)``.

        Raises:
            DataError: The file does not hold whole images.
        """
        size, one = self.path.stat().st_size, int(np.prod(self.shape))
        if size == 0 or size % one:
            raise DataError(
                f"{self.path.name} has {size:,} bytes, which are no whole images of {one:,} bytes",
                where=str(self.path),
                hint="remove it and download it again",
            )
        stored = np.memmap(self.path, np.uint8, "r", shape=(size // one, *self.shape))
        return stored.transpose(0, *(axis + 1 for axis in self.axes))


class MappedSplit(ArraySplit):
    """Images in a file; what is sent to another process is the file's name.

    Args:
        source: The file.
        labels: int64 ``(N,)``.
        chosen: Positions of the images in the file; by default all of them.
    """

    def __init__(
        self, source: MappedImages, labels: NDArray[np.int64], chosen: NDArray[np.int64] | None = None
    ) -> None:
        self._source, self._chosen = source, chosen
        super().__init__(self._open(), labels)

    def _open(self) -> NDArray[np.uint8]:
        images = self._source.open()
        return images if self._chosen is None else images[self._chosen]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_images"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._images = self._open()
