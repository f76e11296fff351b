"""Decodes all images in several threads, with few of them in memory at a time."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from probebench.api import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from probebench_datasets.images.decoder import Decoder
    from probebench_datasets.images.encoded_images import EncodedImages

_BATCH_IMAGES: Final = 64
_BATCH_BYTES: Final = 16 << 20
_MAX_THREADS: Final = 8


def decode_all(encoded: EncodedImages, decoder: Decoder) -> Iterator[NDArray[np.uint8]]:
    """Decodes images in several threads, a few batches ahead of the caller.

    Returns:
        uint8 ``(3, H, W)`` each, in the order of the encoded images.

    Raises:
        DataError: An image cannot be decoded, or its size differs from that of the first image.
    """
    first: tuple[int, ...] | None = None
    for index, image in enumerate(_decoded(encoded, decoder)):
        first = first or image.shape
        if image.shape != first:
            (_, height, width), (_, first_height, first_width) = image.shape, first
            raise DataError(
                f"the image is {width}x{height}, the first one is {first_width}x{first_height}",
                where=encoded.where(index),
                hint=f"add image_size={min(first_height, first_width, height, width)} to the dataset's options",
            )
        yield image


def _decoded(encoded: EncodedImages, decoder: Decoder) -> Iterator[NDArray[np.uint8]]:
    def decode(batch: list[tuple[int, bytes]]) -> list[NDArray[np.uint8]]:
        return [decoder.decode(data, encoded.where(index)) for index, data in batch]

    threads = min(_MAX_THREADS, os.cpu_count() or 1)
    pending: deque[Future[list[NDArray[np.uint8]]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in _batches(enumerate(encoded.read_all())):
            pending.append(pool.submit(decode, batch))
            if len(pending) > threads:
                yield from pending.popleft().result()
        for future in pending:
            yield from future.result()


def _batches(images: Iterable[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Yields batches bounded in number and in bytes, so that memory does not grow with the dataset."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for index, data in images:
        batch.append((index, data))
        size += len(data)
        if len(batch) == _BATCH_IMAGES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
