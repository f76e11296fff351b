"""uint8 arrays of images: in memory, in a file that is read as needed, or resized."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from PIL import Image

from probebench.api import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class ImageArray(Protocol):
    """A uint8 array ``(N, 3, H, W)``, or an object that can be indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, 3, H, W)``."""

    @overload
    def __getitem__(self, rows: int, /) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]: ...


def image_digest(image: NDArray[np.uint8]) -> bytes:
    """Returns a digest of one image's shape and values: equal images have equal digests, whatever file they are in."""
    total = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    total.update(np.ascontiguousarray(image).data)
    return total.digest()


class RawFileImages:
    """Images in a file without a header, one after the other. They are read when they are indexed, and not kept.

    Args:
        path: The file.
        shape: Shape of one stored image.
        axes: Order of these axes that gives ``(3, H, W)``.
        chosen: Positions in the file of the images to use, int64; by default all.

    Raises:
        DataError: The length of the file is not a multiple of the size of an image.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        axes: tuple[int, int, int] = (0, 1, 2),
        chosen: NDArray[np.int64] | None = None,
    ) -> None:
        self._path, self._stored_shape, self._axes, self._chosen = path, shape, axes, chosen
        self._bytes = int(np.prod(shape))
        size = path.stat().st_size
        if size == 0 or size % self._bytes:
            raise DataError(
                f"{path.name} has {size:,} bytes, which is not a whole number of images of {self._bytes:,} bytes",
                where=str(path),
                hint="delete this file and download the dataset again",
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
            raise DataError(
                f"{self._path.name} became shorter while it was in use",
                where=str(self._path),
                hint="delete this file and download the dataset again",
            )
        stored = values.reshape(count, *self._stored_shape)
        images: NDArray[np.uint8] = stored.transpose(0, *(axis + 1 for axis in self._axes))
        return images


class ResizedImages:
    """Images resized whenever they are read: bicubic and antialiased, as image files are.

    Args:
        images: Square images.
        side: New height and width.
    """

    def __init__(self, images: ImageArray, side: int) -> None:
        self._images, self._side = images, side
        self.shape: tuple[int, ...] = (*images.shape[:2], side, side)

    def __getitem__(self, rows: int | slice) -> NDArray[np.uint8]:
        if isinstance(rows, slice):
            images = [self._resized(image) for image in self._images[rows]]
            return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)
        return self._resized(self._images[rows])

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        colour = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        return np.asarray(colour.resize((self._side, self._side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
