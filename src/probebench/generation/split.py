"""Generated images as a split, so that their features are read, checked and stored like those of other images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np
import torch

from probebench.api import DataError, Split

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.generation.folder import SampleFolder


class GeneratedSplit(Split):
    """The first images of a folder.

    Args:
        folder: The folder.
        count: Number of images; they are numbered 0 to ``count - 1``.

    Raises:
        DataError: An image cannot be read, or they are not of one size.
    """

    def __init__(self, folder: SampleFolder, count: int) -> None:
        self._folder, self._count = folder, count
        self.image_size = self._size_of(self.image(0))
        total = hashlib.sha256(f"{count} images of {self.image_size}".encode())
        for index in range(count):
            image = self.image(index)
            if self._size_of(image) != self.image_size:
                raise DataError(
                    f"image {index} is {self._size_of(image)}, the first one {self.image_size}",
                    where=str(folder.images),
                    hint="delete the folder, and run the same command again",
                )
            total.update(image.numpy().tobytes())
        self._fingerprint = total.hexdigest()

    @staticmethod
    def _size_of(image: Tensor) -> tuple[int, int]:
        return (int(image.shape[1]), int(image.shape[2]))

    def __len__(self) -> int:
        return self._count

    def image(self, index: int) -> Tensor:
        """Reads one image, uint8 ``(3, H, W)``."""
        return torch.from_numpy(np.array(self._folder.read(index))).permute(2, 0, 1).contiguous()

    def labels(self) -> Tensor:
        """Raises an error: generated images have no labels.

        Raises:
            DataError: Always.
        """
        raise DataError("generated images have no labels", where=str(self._folder.images))

    def fingerprint(self) -> str:
        """Returns a digest of all decoded images."""
        return self._fingerprint


class ChosenImages(Sequence["Tensor"]):
    """Some images of a split, each read when it is accessed.

    Args:
        split: The split.
        positions: int64 ``(N,)``, positions of the images.
    """

    def __init__(self, split: Split, positions: Tensor) -> None:
        self._split, self._positions = split, positions.tolist()

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self._split.image(position) for position in self._positions[index]]
        return self._split.image(self._positions[index])
