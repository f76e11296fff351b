"""Splits: images in an array, without labels, or in the cache of decoded images."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from probebench.api import DataError, Split
from probebench_datasets.images.arrays import image_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from probebench_datasets.images.arrays import ImageArray
    from probebench_datasets.images.decoded_images import DecodedImages

_CHUNK = 1024
"""Images that are read and hashed at once."""


class ArraySplit(Split):
    """Images and labels in arrays.

    Args:
        images: uint8 ``(N, 3, H, W)``, with any strides: a transposed or broadcast view costs no memory.
        labels: int64 ``(N,)``.
    """

    def __init__(self, images: ImageArray, labels: NDArray[np.int64]) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return self._images.shape[0]

    def image(self, index: int) -> Tensor:
        """Returns a copy of one image."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return torch.from_numpy(np.array(self._images[index], order="C"))

    def labels(self) -> Tensor:
        """Returns a copy of the labels."""
        return torch.from_numpy(self._labels.copy())

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all images and labels."""
        total = hashlib.sha256(str(self._images.shape).encode())
        for images in self._chunks():
            total.update(np.ascontiguousarray(images).data)
        total.update(str(self._labels.shape).encode())
        total.update(np.ascontiguousarray(self._labels).data)
        return total.hexdigest()

    def digests(self) -> Sequence[bytes]:
        """Returns the digest of each image."""
        return [image_digest(image) for images in self._chunks() for image in images]

    def _chunks(self) -> Iterator[NDArray[np.uint8]]:
        return (self._images[start : start + _CHUNK] for start in range(0, len(self), _CHUNK))


class UnlabeledSplit(ArraySplit):
    """Images without labels, for training generative models.

    Args:
        images: uint8 ``(N, 3, H, W)``.
        name: Name of the split in errors, as ``dataset/split``.
    """

    def __init__(self, images: ImageArray, name: str) -> None:
        super().__init__(images, np.empty(0, dtype=np.int64))
        self._name = name

    def labels(self) -> Tensor:
        """Raises an error, so that no probe is given labels that do not exist.

        Raises:
            DataError: Always.
        """
        dataset, _, split = self._name.partition("/")
        raise DataError(
            "these images have no labels, and can only train generative models",
            where=self._name,
            hint=f"probebench train ddpm --dataset {dataset} --split {split} --out runs/{dataset}",
        )


class DecodedSplit(Split):
    """Some of the decoded images, with labels.

    Args:
        images: The decoded images.
        labels: int64 ``(N,)``.
        chosen: Positions of the split's images; by default all of them.
    """

    def __init__(
        self, images: DecodedImages, labels: NDArray[np.int64], chosen: NDArray[np.int64] | None = None
    ) -> None:
        self._images, self._labels = images, labels
        self._chosen = np.arange(len(images)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._labels)

    def image(self, index: int) -> Tensor:
        """Returns a copy of one image; the first call may have to decode all images."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return torch.from_numpy(self._images.image(int(self._chosen[index])))

    def labels(self) -> Tensor:
        """Returns a copy of the labels."""
        return torch.from_numpy(self._labels.copy())

    def digests(self) -> list[bytes]:
        """Returns the digest of each image; digests are stored beside the decoded images."""
        return [digest.tobytes() for digest in self._images.digests[self._chosen]]

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the decoding rule, the images' digests and the labels."""
        total = hashlib.sha256(f"decoded {self._images.rule}\n{len(self)}\n".encode())
        total.update(self._images.digests[self._chosen].tobytes())
        total.update(self._labels.astype("<i8").tobytes())
        return total.hexdigest()
