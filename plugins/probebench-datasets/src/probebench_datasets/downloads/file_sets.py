"""The files of a published dataset: their names, their checksums, and where they are downloaded from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api import DataError
from probebench_datasets.downloads import checksums
from probebench_datasets.downloads.download import download
from probebench_datasets.downloads.unpack import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from probebench_datasets.downloads.download import Progress


@dataclass(frozen=True)
class Source:
    """A file that can be downloaded.

    Attributes:
        name: Its name. If it is not one of the files of its set, it is an archive of them.
        url: Its address.
        md5: Its checksum, in hexadecimal.
    """

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class FileSet:
    """The files of a dataset in one format, such as the binary records of CIFAR-10.

    Attributes:
        folder: Their folder, relative to the data root; may be empty.
        parts: For each part, such as a split, its files in their order, each with its MD5 checksum.
        sources: The downloads that they come from.
    """

    folder: str
    parts: Mapping[str, Mapping[str, str]]
    sources: tuple[Source, ...]

    @property
    def files(self) -> dict[str, str]:
        """The files of all parts, with their checksums."""
        return {name: md5 for part in self.parts.values() for name, md5 in part.items()}

    def missing(self, root: Path, part: str) -> list[str]:
        """Returns the names of a part's files that do not exist."""
        return [name for name in self.parts[part] if not (root / self.folder / name).is_file()]


@dataclass(frozen=True)
class DatasetFiles:
    """The files of one dataset on this machine, in any of its formats.

    Attributes:
        dataset: Name of the dataset.
        root: The data root.
        file_sets: One for each format; the first one is downloaded.
        command: The command that downloads it.
    """

    dataset: str
    root: Path
    file_sets: Sequence[FileSet]
    command: str

    def part(self, name: str) -> tuple[FileSet, list[Path]]:
        """Returns the first file set in which a part is complete, and the verified files of the part.

        Raises:
            DataError: The part is not complete in any file set, or a file is damaged.
        """
        for file_set in self.file_sets:
            if not file_set.missing(self.root, name):
                return file_set, self._verified(file_set, name)
        raise self._missing_error(name)

    def fetch(self, progress: Progress) -> None:
        """Downloads the missing files, unless one of the file sets is complete, and verifies all of them.

        Raises:
            DataError: A file is damaged, cannot be downloaded, or cannot be written.
        """
        complete = [one for one in self.file_sets if not any(one.missing(self.root, part) for part in one.parts)]
        file_set = complete[0] if complete else self.file_sets[0]
        for source in file_set.sources if not complete else ():
            if source.name in file_set.files:
                download(source.url, self.root / file_set.folder / source.name, md5=source.md5, progress=progress)
            else:
                self._fetch_archive(source, progress)
        for part in file_set.parts:
            self._verified(file_set, part)

    def _fetch_archive(self, source: Source, progress: Progress) -> None:
        archive = self.root / source.name
        downloaded = not archive.exists()
        download(source.url, archive, md5=source.md5, progress=progress)
        unpack(archive, self.root, progress=progress)
        if downloaded:  # its files are unpacked: keeping the archive, too, would take the space twice
            archive.unlink()

    def _verified(self, file_set: FileSet, part: str) -> list[Path]:
        paths = []
        for name, md5 in file_set.parts[part].items():
            path = self.root / file_set.folder / name
            checksums.verify(path, md5, hint=f"delete this file, then run {self.command}")
            paths.append(path)
        return paths

    def _missing_error(self, part: str) -> DataError:
        """Returns an error with the missing files, their folder and the command; for an incomplete set, the rest."""
        partial = [one for one in self.file_sets if len(one.missing(self.root, part)) < len(one.parts[part])]
        file_set = partial[0] if partial else self.file_sets[0]
        names = ", ".join(file_set.missing(self.root, part))
        others = [str(self.root / other.folder) for other in self.file_sets if other != file_set]
        unneeded = file_set.files.keys() - file_set.parts[part].keys()
        sources = [source for source in file_set.sources if source.name not in unneeded]
        downloads = " and ".join(f"{source.name} (MD5 {source.md5}, {source.url})" for source in sources)
        archived = sources[0].name not in file_set.files
        by_hand = f"copy {downloads} to {self.root if archived else self.root / file_set.folder}"
        return DataError(
            f"files of {self.dataset} are missing, of its part {part}: {names}",
            where=" or ".join([str(self.root / file_set.folder), *([] if partial else others)]),
            hint=f"{self.command}; without a network connection, {by_hand}{' first' if archived else ''}",
        )
