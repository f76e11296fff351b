"""Splits whose images are decoded once and read from the cache ever after."""

from __future__ import annotations

import hashlib
import mmap
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from probebench.api import DataError, Split, bar
from probebench_datasets.images import decoded_cache as cache
from probebench_datasets.images import file_stamps as stamps
from probebench_datasets.images.arrays import image_digest
from probebench_datasets.images.decoded_cache import Decoded
from probebench_datasets.images.encoded_images import decode_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from probebench_datasets.images.decoder import Decoder
    from probebench_datasets.images.encoded_images import Pictures
    from probebench_datasets.images.file_stamps import Stamp

_VERSION: Final = 1
"""Raise it when the same files and the same rule give other pixels."""

_RESIDENT_BYTES = 32 << 20
"""After reading so much, the pages of the mapped file are given back: they are cached by the system, not held by us."""


class DecodedImages:
    """Pictures as uint8 images of one size, decoded when they are first asked for.

    They are kept in a file of the cache that is named by the content of the user's files and the rule of decoding, so
    another copy of the files finds it too, and a changed file does not.

    Args:
        pictures: What to decode.
        decoder: How.
        name: What to call them in the report of the cost.
    """

    def __init__(self, pictures: Pictures, decoder: Decoder, name: str) -> None:
        self._pictures, self._decoder, self._name = pictures, decoder, name
        self._decoded: Decoded | None = None
        self._read_bytes = 0

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def rule(self) -> str:
        """The rule of decoding, in words."""
        return self._decoder.rule

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, for which at most one picture is decoded."""
        if side := self._decoder.image_size:
            return side, side
        _, height, width = self._decode(0).shape
        return height, width

    @property
    def digests(self) -> NDArray[np.uint8]:
        """`image_digest` of each image: uint8 ``(N, 16)``."""
        return self._open().digests

    def image(self, index: int) -> NDArray[np.uint8]:
        """A copy of one image: uint8 ``(3, H, W)``. What comes from the cache is compared with its digest.

        Raises:
            DataError: It cannot be decoded.
        """
        decoded = self._open()
        image: NDArray[np.uint8] = np.array(decoded.pixels[index])
        if decoded.path is None:
            return image
        self._give_back_pages(decoded.mapped, image.nbytes)
        digest = decoded.digests[index].tobytes()
        if image_digest(image) == digest:
            return image
        cache.discard(decoded.path, f"image {index} has changed")
        again = self._decode(index)
        if image_digest(again) != digest:
            raise DataError(
                "the picture has changed since it was decoded", where=self._pictures.where(index), hint="run again"
            )
        return again

    def _open(self) -> Decoded:
        if self._decoded is None:
            stamp = stamps.stamp(self._pictures.files)
            key = self._key(self._content(stamp))
            path = cache.folder() / f"{key}{cache.SUFFIX}"
            self._decoded = cache.read(path, key) or self._build(path, key, stamp)
        return self._decoded

    def _content(self, stamp: Stamp) -> str:
        """The content of the files, which are read only where nothing is remembered of them."""
        if known := stamps.recall(cache.folder(), stamp):
            return known
        content = stamps.content(self._pictures.files)
        self._require_unchanged(stamp)
        if stamp.settled:
            stamps.remember(cache.folder(), stamp, content)
        return content

    def _key(self, content: str) -> str:
        """Names all that the pixels depend on."""
        parts = (str(_VERSION), content, self._pictures.layout, self._decoder.rule, self._decoder.libraries)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _build(self, path: Path, key: str, stamp: Stamp) -> Decoded:
        start = time.perf_counter()
        sys.stderr.write(f"decoding {len(self)} images of {self._name}, once\n")
        try:
            cache.write(path, key, len(self), self._decode_all(stamp))
            cache.tidy(keep=path)
            decoded = cache.read(path, key)
            if decoded is None:
                raise OSError("what was written is not there")  # noqa: TRY301 - as good as not written
        except OSError as error:
            decoded = self._in_memory(stamp)
            warnings.warn(
                f"the cache cannot be used ({error}): {decoded.pixels.nbytes / 1e6:.0f} MB of decoded images are held "
                "in memory, and decoded anew next time; PROBEBENCH_CACHE names another folder",
                UserWarning,
                stacklevel=2,
            )
        self._report(decoded, time.perf_counter() - start)
        return decoded

    def _require_unchanged(self, stamp: Stamp) -> None:
        if stamps.stamp(self._pictures.files).name != stamp.name:
            raise DataError(
                "files changed while they were read",
                where=str(Path(self._pictures.files[0]).parent),
                hint="run again when nothing writes there",
            )

    def _report(self, decoded: Decoded, seconds: float) -> None:
        """Says what was paid, once."""
        kept = f"kept in {decoded.path}" if decoded.path else "held in memory"
        sys.stderr.write(f"decoded in {seconds:.1f} s; {decoded.pixels.nbytes / 1e6:.0f} MB {kept}\n")

    def _in_memory(self, stamp: Stamp) -> Decoded:
        pixels: NDArray[np.uint8] | None = None
        digests = np.empty((len(self), cache.DIGEST_BYTES), np.uint8)
        for index, image in enumerate(self._decode_all(stamp)):
            if pixels is None:
                pixels = np.empty((len(self), *image.shape), np.uint8)
            pixels[index] = image
            digests[index] = np.frombuffer(image_digest(image), np.uint8)
        if pixels is None:
            raise DataError("there are no pictures", where=self._name)
        return Decoded(pixels, digests)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        return self._decoder.decode(self._pictures.read(index), self._pictures.where(index))

    def _decode_all(self, stamp: Stamp) -> Iterator[NDArray[np.uint8]]:
        """All images, from files that stay as they are."""
        with bar(f"decode {self._name}", total=len(self)) as shown:
            for image in decode_all(self._pictures, self._decoder):
                yield image
                shown.advance()
        self._require_unchanged(stamp)

    def _give_back_pages(self, mapped: mmap.mmap | None, size: int) -> None:
        self._read_bytes += size
        if self._read_bytes > _RESIDENT_BYTES and mapped and hasattr(mmap, "MADV_DONTNEED"):
            self._read_bytes = 0
            mapped.madvise(mmap.MADV_DONTNEED)

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped file, which another process opens for itself."""
        state = dict(vars(self))
        if self._decoded and self._decoded.path:
            state["_decoded"] = None
        return state


class DecodedSplit(Split):
    """Some of the decoded images, with labels.

    Args:
        images: Where they are.
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
        """One image; the first one asked for may have to wait until all are decoded."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return torch.from_numpy(self._images.image(int(self._chosen[index])))

    def labels(self) -> Tensor:
        """A copy of the labels."""
        return torch.from_numpy(self._labels.copy())

    def digests(self) -> list[bytes]:
        """Of all images; they are kept beside the decoded images."""
        return [digest.tobytes() for digest in self._images.digests[self._chosen]]

    def fingerprint(self) -> str:
        """Sum over the rule of decoding, the images' digests and the labels."""
        total = hashlib.sha256(f"decoded {self._images.rule}\n{len(self)}\n".encode())
        total.update(self._images.digests[self._chosen].tobytes())
        total.update(self._labels.astype("<i8").tobytes())
        return total.hexdigest()
