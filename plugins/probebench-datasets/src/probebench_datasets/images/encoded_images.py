"""Encoded pictures in files, and decoding them all without holding them all."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from probebench.api import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from probebench_datasets.images.decoder import Decoder

_BATCH_IMAGES: Final = 64
_BATCH_BYTES: Final = 16 << 20
_MOST_THREADS: Final = 8


class Pictures(ABC):
    """Encoded pictures in files, in a fixed order.

    Attributes:
        files: Absolute paths of the files; what they hold decides everything.
        layout: How the pictures lie in them.
    """

    files: Sequence[str]
    layout: str

    @abstractmethod
    def __len__(self) -> int:
        """Number of pictures."""

    @abstractmethod
    def where(self, index: int) -> str:
        """What to call a picture in an error."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """One picture.

        Raises:
            DataError: It cannot be read.
        """

    def read_all(self) -> Iterator[bytes]:
        """All pictures in their order, few at a time.

        Raises:
            DataError: One cannot be read.
        """
        return (self.read(index) for index in range(len(self)))


def decode_all(pictures: Pictures, decoder: Decoder) -> Iterator[NDArray[np.uint8]]:
    """Decodes pictures with some threads, a few batches ahead of whoever takes the images.

    Returns:
        uint8 ``(3, H, W)`` each, in the order of the pictures.

    Raises:
        DataError: A picture cannot be decoded, or has another size than the first.
    """
    first: tuple[int, ...] | None = None
    for index, image in enumerate(_ahead(pictures, decoder)):
        first = first or image.shape
        if image.shape != first:
            (_, height, width), (_, first_height, first_width) = image.shape, first
            raise DataError(
                f"the image is {width}x{height}, the first one is {first_width}x{first_height}",
                where=pictures.where(index),
                hint=f"image_size={min(first_height, first_width, height, width)} makes all images of one size",
            )
        yield image


def _ahead(pictures: Pictures, decoder: Decoder) -> Iterator[NDArray[np.uint8]]:
    def decode(batch: list[tuple[int, bytes]]) -> list[NDArray[np.uint8]]:
        return [decoder.decode(data, pictures.where(index)) for index, data in batch]

    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    waiting: deque[Future[list[NDArray[np.uint8]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in _batches(enumerate(pictures.read_all())):
            waiting.append(pool.submit(decode, batch))
            if len(waiting) > threads:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


def _batches(pictures: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Batches that are small in number and in bytes: a large set must not need a large memory."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for index, data in pictures:
        batch.append((index, data))
        size += len(data)
        if len(batch) == _BATCH_IMAGES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
