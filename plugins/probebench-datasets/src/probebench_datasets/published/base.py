"""The base class of published datasets: their files are verified, read once and kept in memory."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from probebench.api import DataError, Dataset, UsageError
from probebench_datasets.downloads.file_sets import DatasetFiles, FileSet
from probebench_datasets.paths import data_root

if TYPE_CHECKING:
    from pathlib import Path

    from probebench.api import Split
    from probebench_datasets.downloads.download import Progress
    from probebench_datasets.options import RootOptions


class PublishedDataset(Dataset):
    """A dataset that is read from its files as they were published.

    Attributes:
        name: Name of its spec.
        file_sets: Its files, for each format in which they are published; the first one is downloaded.
    """

    name: ClassVar[str]
    file_sets: ClassVar[tuple[FileSet, ...]]

    def __init__(self, options: RootOptions) -> None:
        self._files = self._files_of(options)
        self._opened: dict[str, Split] = {}

    @classmethod
    def fetch(cls, options: RootOptions, progress: Progress) -> None:
        """Downloads missing files, and verifies all files."""
        cls._files_of(options).fetch(progress)

    @classmethod
    def _files_of(cls, options: RootOptions) -> DatasetFiles:
        root = f":root={options.root}" if options.root else ""
        command = f"probebench data download {cls.name}{root}"
        return DatasetFiles(cls.name, data_root(options.root), cls.file_sets, command)

    def split(self, name: str) -> Split:
        """Returns a split; its files are verified and read in the first call."""
        known = (*self.splits, *self.unlabeled)
        if name not in known:
            raise UsageError(f"no split {name!r}", hint=f"use {' or '.join(known)}")
        if name not in self._opened:
            try:
                self._opened[name] = self._open(name)
            except OSError as error:
                raise DataError(
                    f"{self.name} cannot be read: {error.strerror}",
                    where=error.filename,
                    hint=f"restore the file, or make it readable: chmod u+r {error.filename}",
                ) from error
        return self._opened[name]

    @abstractmethod
    def _open(self, name: str) -> Split:
        """Reads a split from its files."""


def format_error(path: Path, what: str) -> DataError:
    """Returns the error for a file that is not in the published format, although its checksum is the expected one."""
    return DataError(what, where=str(path), hint="delete this file and download the dataset again")
