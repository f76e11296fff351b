"""Encoded images, such as JPEG files, in a fixed order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from probebench_datasets.images.file_stamps import read_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class EncodedImages(ABC):
    """Encoded images in one or more files, in a fixed order.

    Attributes:
        files: Absolute paths of the files. Their content determines the images.
        layout: How the images are stored in them: part of the key of decoded images.
    """

    files: Sequence[str]
    layout: str

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of images."""

    @abstractmethod
    def where(self, index: int) -> str:
        """Returns the name of an image in errors."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Reads one image.

        Raises:
            DataError: It cannot be read.
        """

    def read_all(self) -> Iterator[bytes]:
        """Reads all images in their order, few at a time.

        Raises:
            DataError: An image cannot be read.
        """
        return (self.read(index) for index in range(len(self)))


class ImageFiles(EncodedImages):
    """Images with one file each.

    Args:
        files: Absolute paths, in the order of the images.
    """

    layout = "files"

    def __init__(self, files: Sequence[str]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def where(self, index: int) -> str:
        """Returns the path of the file."""
        return self.files[index]

    def read(self, index: int) -> bytes:
        """Reads the whole file."""
        try:
            return Path(self.files[index]).read_bytes()
        except OSError as error:
            raise read_error(self.files[index], error) from error
