"""The files of a published dataset: where they lie, what they must be, and where they come from."""

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
    """A file as it is published.

    Attributes:
        name: Its name. One that is not among the files of its set is an archive that holds them.
        url: Where it is.
        md5: Its checksum, in hexadecimal.
    """

    name: str
    url: str
    md5: str


@dataclass(frozen=True)
class FileSet:
    """One form in which a dataset lies on a disk.

    Attributes:
        folder: Its folder, below the data root; may be empty.
        parts: For each part, such as a split, its files in their order, each with its md5.
        sources: What they are made from.
    """

    folder: str
    parts: Mapping[str, Mapping[str, str]]
    sources: tuple[Source, ...]

    @property
    def files(self) -> dict[str, str]:
        """The files of all parts."""
        return {name: md5 for part in self.parts.values() for name, md5 in part.items()}

    def missing(self, root: Path, part: str) -> list[str]:
        """Names of a part's files that are not there."""
        return [name for name in self.parts[part] if not (root / self.folder / name).is_file()]


@dataclass(frozen=True)
class Files:
    """The files of one dataset, in any of its forms.

    Attributes:
        dataset: Its name.
        root: The data root.
        sets: The forms; the first one is what is downloaded.
        command: What downloads it.
    """

    dataset: str
    root: Path
    sets: Sequence[FileSet]
    command: str

    def part(self, name: str) -> tuple[FileSet, list[Path]]:
        """The first form that has a part, and the part's files: whole, as their checksums say.

        Raises:
            DataError: No form has it, or a file is damaged.
        """
        for form in self.sets:
            if not form.missing(self.root, name):
                return form, self._checked(form, name)
        raise self._not_there(name)

    def fetch(self, progress: Progress) -> None:
        """Downloads what is missing, unless some form is complete.

        Raises:
            DataError: A file is damaged, cannot be downloaded, or cannot be written.
        """
        complete = [form for form in self.sets if not any(form.missing(self.root, part) for part in form.parts)]
        form = complete[0] if complete else self.sets[0]
        for source in form.sources if not complete else ():
            if source.name in form.files:
                download(source.url, self.root / form.folder / source.name, md5=source.md5, progress=progress)
            else:
                self._fetch_archive(source, progress)
        for part in form.parts:
            self._checked(form, part)

    def _fetch_archive(self, source: Source, progress: Progress) -> None:
        archive = self.root / source.name
        ours = not archive.exists()
        download(source.url, archive, md5=source.md5, progress=progress)
        unpack(archive, self.root, progress=progress)
        if ours:  # its files are there now, and checked: keeping both would take the space twice
            archive.unlink()

    def _checked(self, form: FileSet, part: str) -> list[Path]:
        paths = []
        for name, md5 in form.parts[part].items():
            path = self.root / form.folder / name
            checksums.require(path, md5, remedy=f"remove this file, then {self.command}")
            paths.append(path)
        return paths

    def _not_there(self, part: str) -> DataError:
        """The exact files, the folder and the command; of a form that is half there, what is missing."""
        begun = [form for form in self.sets if len(form.missing(self.root, part)) < len(form.parts[part])]
        form = begun[0] if begun else self.sets[0]
        names = ", ".join(form.missing(self.root, part))
        others = [str(self.root / other.folder) for other in self.sets if other != form]
        wanted = [source for source in form.sources if source.name not in form.files or source.name in form.parts[part]]
        by_hand = " and ".join(f"{source.name} (md5 {source.md5}, {source.url})" for source in wanted)
        packed = wanted[0].name not in form.files
        place = f"{self.root} first: then it needs no network" if packed else self.root / form.folder
        return DataError(
            f"{self.dataset} has no {part} part on this machine: {names} missing",
            where=" or ".join([str(self.root / form.folder), *([] if begun else others)]),
            hint=f"{self.command}; or put {by_hand} into {place}",
        )
