"""Splits whose images are one uint8 array, in memory or in a file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
import torch
from PIL import Image

from probebench.api import DataError, Split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

_CHUNK = 1024
"""Images that are looked at in one go."""


def image_digest(image: NDArray[np.uint8]) -> bytes:
    """Digest of one image, by its shape and its values: equal images have equal ones, whatever file they are from."""
    total = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    total.update(np.ascontiguousarray(image).data)
    return total.digest()


class Images(Protocol):
    """What a split reads from: an array, or what can be indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, 3, H, W)``."""

    @overload
    def __getitem__(self, rows: int, /) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]: ...


class ArraySplit(Split):
    """Images and labels as arrays.

    Args:
        images: uint8 ``(N, 3, H, W)``, with any strides: a transposed or repeated view costs no memory.
        labels: int64 ``(N,)``.
    """

    def __init__(self, images: Images, labels: NDArray[np.int64]) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return self._images.shape[0]

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
        for images in self._chunks():
            total.update(np.ascontiguousarray(images).data)
        total.update(str(self._labels.shape).encode())
        total.update(np.ascontiguousarray(self._labels).data)
        return total.hexdigest()

    def digests(self) -> Sequence[bytes]:
        """Of all images."""
        return [image_digest(image) for images in self._chunks() for image in images]

    def _chunks(self) -> Iterator[NDArray[np.uint8]]:
        return (self._images[start : start + _CHUNK] for start in range(0, len(self), _CHUNK))


class UnlabeledSplit(ArraySplit):
    """Images without labels, for the training of generators.

    Args:
        images: uint8 ``(N, 3, H, W)``.
        name: What to call them.
    """

    def __init__(self, images: Images, name: str) -> None:
        super().__init__(images, np.empty(0, dtype=np.int64))
        self._name = name

    def labels(self) -> Tensor:
        """There are none.

        Raises:
            DataError: Always: no probe is to see a label that stands for nothing.
        """
        raise DataError(
            "these images have no labels",
            where=self._name,
            hint="only generators are trained on them: --split unlabeled",
        )


class StoredImages:
    """Images in a file without header, one after the other: read when they are asked for, and not kept.

    Args:
        path: The file.
        shape: Of one image, as it is stored.
        axes: Order of these axes that gives ``(3, H, W)``.
        chosen: Positions of the wanted images in the file, int64; by default all.

    Raises:
        DataError: The file does not hold whole images.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        axes: tuple[int, int, int] = (0, 1, 2),
        chosen: NDArray[np.int64] | None = None,
    ) -> None:
        self._path, self._stored, self._axes, self._chosen = path, shape, axes, chosen
        self._bytes = int(np.prod(shape))
        size = path.stat().st_size
        if size == 0 or size % self._bytes:
            raise DataError(
                f"{path.name} has {size:,} bytes, which are no whole images of {self._bytes:,} bytes", where=str(path)
            )
        count = size // self._bytes if chosen is None else len(chosen)
        self.shape: tuple[int, ...] = (count, *(shape[axis] for axis in axes))

    def __getitem__(self, rows: int | slice) -> NDArray[np.uint8]:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            if self._chosen is None:
                return self._read(start, stop - start)
            return np.concatenate([self._read(int(row), 1) for row in self._chosen[start:stop]])
        image: NDArray[np.uint8] = self._read(rows if self._chosen is None else int(self._chosen[rows]), 1)[0]
        return image

    def _read(self, first: int, count: int) -> NDArray[np.uint8]:
        try:
            values = np.fromfile(self._path, np.uint8, count * self._bytes, offset=first * self._bytes)
        except OSError as error:
            raise DataError(f"{self._path.name} cannot be read: {error.strerror}", where=str(self._path)) from error
        if len(values) != count * self._bytes:
            raise DataError(f"{self._path.name} has become shorter", where=str(self._path), hint="download it again")
        stored = values.reshape(count, *self._stored)
        images: NDArray[np.uint8] = stored.transpose(0, *(axis + 1 for axis in self._axes))
        return images


class ResizedImages:
    """Images at another size, bicubic and antialiased as pictures in folders are: resized whenever they are read.

    Args:
        images: Square ones.
        side: Height and width to give.
    """

    def __init__(self, images: Images, side: int) -> None:
        self._images, self._side = images, side
        self.shape: tuple[int, ...] = (*images.shape[:2], side, side)

    def __getitem__(self, rows: int | slice) -> NDArray[np.uint8]:
        if isinstance(rows, slice):
            images = [self._resized(image) for image in self._images[rows]]
            return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)
        return self._resized(self._images[rows])

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        return np.asarray(picture.resize((self._side, self._side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
