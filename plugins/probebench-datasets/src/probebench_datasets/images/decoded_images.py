"""Decoded images, which are decoded once and then read from the cache."""

from __future__ import annotations

import hashlib
import mmap
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probebench.api import DataError, bar
from probebench_datasets.images import decoded_cache, file_stamps
from probebench_datasets.images.arrays import image_digest
from probebench_datasets.images.decoded_cache import DecodedArrays
from probebench_datasets.images.parallel_decoding import decode_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from probebench_datasets.images.decoder import Decoder
    from probebench_datasets.images.encoded_images import EncodedImages
    from probebench_datasets.images.file_stamps import Stamp

_VERSION: Final = 1
"""Raise it when the same files and the same rule give other pixels."""

_RESIDENT_BYTES: Final = 32 << 20
"""After reading so many bytes, the pages of the mapped file are released: the operating system caches them."""


class DecodedImages:
    """Images decoded to uint8 arrays of one size, when they are first read.

    They are stored in a file of the cache, named by the content of the user's files and the decoding rule. A copy of
    the files therefore has the same cache file, and a changed file has another one.

    Args:
        encoded: The encoded images.
        decoder: Decodes them.
        name: Name of the images in progress lines.
    """

    def __init__(self, encoded: EncodedImages, decoder: Decoder, name: str) -> None:
        self._encoded, self._decoder, self._name = encoded, decoder, name
        self._arrays: DecodedArrays | None = None
        self._read_bytes = 0

    def __len__(self) -> int:
        return len(self._encoded)

    @property
    def rule(self) -> str:
        """The decoding rule, in words."""
        return self._decoder.rule

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width; decodes one image at most."""
        if side := self._decoder.image_size:
            return side, side
        _, height, width = self._decode(0).shape
        return height, width

    @property
    def digests(self) -> NDArray[np.uint8]:
        """`image_digest` of each image: uint8 ``(N, 16)``."""
        return self._open().digests

    def image(self, index: int) -> NDArray[np.uint8]:
        """Returns a copy of one image: uint8 ``(3, H, W)``. An image from the cache is compared with its digest.

        Raises:
            DataError: It cannot be decoded.
        """
        arrays = self._open()
        image: NDArray[np.uint8] = np.array(arrays.pixels[index])
        if arrays.path is None:
            return image
        self._release_pages(arrays.mapped, image.nbytes)
        digest = arrays.digests[index].tobytes()
        if image_digest(image) == digest:
            return image
        decoded_cache.discard(arrays.path, f"image {index} has changed")
        again = self._decode(index)
        if image_digest(again) != digest:
            raise DataError(
                "the image file has changed since it was decoded",
                where=self._encoded.where(index),
                hint="run the same command again",
            )
        return again

    def _open(self) -> DecodedArrays:
        if self._arrays is None:
            stamp = file_stamps.stamp(self._encoded.files)
            key = self._key(self._content_hash(stamp))
            path = decoded_cache.folder() / f"{key}{decoded_cache.SUFFIX}"
            self._arrays = decoded_cache.read(path, key) or self._build(path, key, stamp)
        return self._arrays

    def _content_hash(self, stamp: Stamp) -> str:
        """Returns the content hash of the files, which are read only if none was saved for their stamp."""
        if saved := file_stamps.load_content_hash(decoded_cache.folder(), stamp):
            return saved
        content = file_stamps.content_hash(self._encoded.files)
        self._require_unchanged(stamp)
        if stamp.settled:
            file_stamps.save_content_hash(decoded_cache.folder(), stamp, content)
        return content

    def _key(self, content: str) -> str:
        """Returns a digest of everything that the pixels depend on."""
        parts = (str(_VERSION), content, self._encoded.layout, self._decoder.rule, self._decoder.libraries)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _build(self, path: Path, key: str, stamp: Stamp) -> DecodedArrays:
        start = time.perf_counter()
        sys.stderr.write(f"decoding {len(self)} images of {self._name}; this is done once\n")
        try:
            decoded_cache.write(path, key, len(self), self._decode_all(stamp))
            decoded_cache.evict(keep=path)
            arrays = decoded_cache.read(path, key)
            if arrays is None:
                raise OSError("the written file cannot be read")  # noqa: TRY301 - as if it had not been written
        except OSError as error:
            arrays = self._in_memory(stamp)
            warnings.warn(
                f"the cache cannot be used ({error}): {arrays.pixels.nbytes / 1e6:.0f} MB of decoded images are held "
                "in memory, and decoded again next time; set PROBEBENCH_CACHE to a writable folder",
                UserWarning,
                stacklevel=2,
            )
        self._report(arrays, time.perf_counter() - start)
        return arrays

    def _require_unchanged(self, stamp: Stamp) -> None:
        if file_stamps.stamp(self._encoded.files).name != stamp.name:
            raise DataError(
                "files changed while they were read",
                where=str(Path(self._encoded.files[0]).parent),
                hint="run the same command again when no other program writes there",
            )

    def _report(self, arrays: DecodedArrays, seconds: float) -> None:
        """Prints the time and the memory that decoding took."""
        kept = f"stored in {arrays.path}" if arrays.path else "held in memory"
        sys.stderr.write(f"decoded in {seconds:.1f} s; {arrays.pixels.nbytes / 1e6:.0f} MB {kept}\n")

    def _in_memory(self, stamp: Stamp) -> DecodedArrays:
        pixels: NDArray[np.uint8] | None = None
        digests = np.empty((len(self), decoded_cache.DIGEST_BYTES), np.uint8)
        for index, image in enumerate(self._decode_all(stamp)):
            if pixels is None:
                pixels = np.empty((len(self), *image.shape), np.uint8)
            pixels[index] = image
            digests[index] = np.frombuffer(image_digest(image), np.uint8)
        if pixels is None:
            raise DataError("there are no images", where=self._name, hint="add images")
        return DecodedArrays(pixels, digests)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        return self._decoder.decode(self._encoded.read(index), self._encoded.where(index))

    def _decode_all(self, stamp: Stamp) -> Iterator[NDArray[np.uint8]]:
        """Yields all images, and raises an error if a file changes meanwhile."""
        with bar(f"decode {self._name}", total=len(self)) as shown:
            for image in decode_all(self._encoded, self._decoder):
                yield image
                shown.advance()
        self._require_unchanged(stamp)

    def _release_pages(self, mapped: mmap.mmap | None, size: int) -> None:
        self._read_bytes += size
        if self._read_bytes > _RESIDENT_BYTES and mapped and hasattr(mmap, "MADV_DONTNEED"):
            self._read_bytes = 0
            mapped.madvise(mmap.MADV_DONTNEED)

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the mapped file, which another process opens again."""
        state = dict(vars(self))
        if self._arrays and self._arrays.path:
            state["_arrays"] = None
        return state
