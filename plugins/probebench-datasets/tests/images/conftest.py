"""Fixtures for the tests of decoded images: a folder of 150 images, more than two batches, and its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from probebench_datasets.images import file_stamps
from probebench_datasets.images.decoded_images import DecodedImages
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.images.encoded_images import ImageFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COUNT = 150


@pytest.fixture
def folder(tmp_path, write_folders) -> Path:
    """Returns a folder with 150 PNG files of 12x10 in its folder ``cats``."""
    return write_folders(tmp_path / "mine", {"cats": COUNT}, size=(12, 10))


@pytest.fixture
def open_images(folder) -> Callable[..., DecodedImages]:
    """Returns ``open_images(image_size=None, root=folder)``."""

    def open_images(image_size: int | None = None, root: Path = folder) -> DecodedImages:
        files = sorted(str(path) for path in (root / "cats").iterdir())
        return DecodedImages(ImageFiles(files), Decoder(image_size), "mine")

    return open_images


@pytest.fixture
def settled(monkeypatch) -> None:
    """Makes files that were just written count as old."""
    monkeypatch.setattr(file_stamps, "_SETTLED", -(10**18))


@pytest.fixture
def forbid_decoding(monkeypatch) -> Callable[[], None]:
    """Returns a function after whose call any decoding fails the test."""

    def forbid() -> None:
        monkeypatch.setattr(Decoder, "decode", lambda *_: pytest.fail("decoded again"))

    return forbid


@pytest.fixture(scope="session")
def all_of() -> Callable[[DecodedImages], np.ndarray]:
    """Returns a function that reads all images."""
    return lambda images: np.stack([images.image(index) for index in range(len(images))])


@pytest.fixture
def cached_files(cache_folder) -> Callable[[], list[Path]]:
    """Returns a function that lists the files of the cache."""
    return lambda: sorted((cache_folder / "decoded").glob("*.decoded"))


@pytest.fixture(scope="session")
def flip() -> Callable[[Path, int], None]:
    """Returns ``flip(path, position)``, which flips one bit of a file."""

    def flip(path: Path, position: int) -> None:
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)

    return flip
