"""What datasets with published files have in common: they are looked for, verified, read once and kept."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from probebench.api import DataError, Dataset, UsageError
from probebench_datasets.downloads.file_sets import Files, FileSet
from probebench_datasets.paths import data_root

if TYPE_CHECKING:
    from probebench.api import Split
    from probebench_datasets.downloads.download import Progress
    from probebench_datasets.published_options import RootOptions


class Published(Dataset):
    """A dataset of the field, read from its files as they are published.

    Attributes:
        name: As in its spec.
        forms: The forms in which it may lie on the disk; the first one is what is downloaded.
    """

    name: ClassVar[str]
    forms: ClassVar[tuple[FileSet, ...]]

    def __init__(self, options: RootOptions) -> None:
        self._files = self._files_of(options)
        self._read: dict[str, Split] = {}

    @classmethod
    def fetch(cls, options: RootOptions, progress: Progress) -> None:
        """Downloads what is missing, and verifies all of it."""
        cls._files_of(options).fetch(progress)

    @classmethod
    def _files_of(cls, options: RootOptions) -> Files:
        place = f":root={options.root}" if options.root else ""
        return Files(cls.name, data_root(options.root), cls.forms, f"probebench data download {cls.name}{place}")

    def split(self, name: str) -> Split:
        """A split; its files are verified, and read, when it is first asked for."""
        known = (*self.splits, *self.unlabeled)
        if name not in known:
            raise UsageError(f"no split {name!r}", hint=" or ".join(known))
        if name not in self._read:
            try:
                self._read[name] = self._open(name)
            except OSError as error:
                raise DataError(f"{self.name} cannot be read: {error.strerror}", where=error.filename) from error
        return self._read[name]

    @abstractmethod
    def _open(self, name: str) -> Split:
        """Reads a split from its files."""
