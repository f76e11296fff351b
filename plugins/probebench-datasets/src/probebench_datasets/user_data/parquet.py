"""Parquet files in the layout of Hugging Face: a column of pictures, a column of labels, in one file or in shards."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probebench.api import DataError, Dataset, ProbebenchWarning, UsageError
from probebench_datasets.images.decoded_images import DecodedImages, DecodedSplit
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.images.file_stamps import unreadable
from probebench_datasets.user_data.folder_listing import counted
from probebench_datasets.user_data.holdout import require_trained, set_aside
from probebench_datasets.user_data.parquet_reader import ParquetPictures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from probebench_datasets.options import ParquetOptions

_SHARD = re.compile(r"(?P<split>[A-Za-z]+)(?:-(?P<number>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]+)?)?\.parquet")
_SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


class Parquet(Dataset):
    """Images in Parquet files.

    The splits are in the names of the files (``train-00000-of-00002.parquet``); where there is no ``test``, it is the
    validation split, as is usual for ImageNet, or a fifth of the images, set aside class by class.
    """

    def __init__(self, options: ParquetOptions) -> None:
        if not options.path:
            raise UsageError("parquet needs a path", where="parquet", hint="parquet:path=FOLDER")
        files = _find(Path(options.path).expanduser().absolute())
        pictures = {split: ParquetPictures(paths) for split, paths in files.items()}
        self.classes, labels = _classes(pictures)
        require_trained(self.classes, labels, where=options.path)
        decoder = Decoder(options.image_size)
        images = {split: DecodedImages(rows, decoder, f"{options.name}/{split}") for split, rows in pictures.items()}
        self._splits = {split: DecodedSplit(images[split], labels[split]) for split in images}
        if "test" not in images:
            rows = [str(row) for row in range(len(labels["train"]))]
            parts = set_aside(rows, labels["train"], seed=options.seed, where=options.path)
            self._splits = {
                split: DecodedSplit(images["train"], labels["train"][part], part) for split, part in parts.items()
            }
        elif options.seed:
            raise UsageError("the data has its own test split", where=f"seed={options.seed}", hint="leave seed out")
        self.splits = tuple(self._splits)
        self.image_size = images["train"].image_size

    def split(self, name: str) -> DecodedSplit:
        """One of the splits there are."""
        if name not in self._splits:
            raise UsageError(f"no split {name!r}", hint=" or ".join(self._splits))
        return self._splits[name]


def _find(path: Path) -> dict[str, list[Path]]:
    """Files of each split, in their order; a single file is ``train``."""
    if path.is_file():
        return {"train": [path]}
    if not path.exists():
        raise DataError("there is nothing", where=str(path), hint="path=FOLDER with Parquet files, or path=FILE")
    found: dict[str, list[Path]] = {}
    others: list[Path] = []
    for file in _shards(path):
        match = _SHARD.fullmatch(file.name)
        split = _SPLITS.get(match["split"].lower()) if match else None
        if split:
            found.setdefault(split, []).append(file)
        else:
            others.append(file)
    if "train" not in found:
        raise DataError(
            "there is no train-*.parquet in this folder",
            where=str(path),
            hint="names such as train-00000-of-00001.parquet, test-..., validation-...; or path=FILE for a single file",
        )
    if others:
        warnings.warn(
            f"left out {counted(len(others), 'file')} whose names say none of train, val and test, such as {others[0]}",
            ProbebenchWarning,
            stacklevel=3,
        )
    if "test" not in found and "val" in found:
        warnings.warn("there is no test split: the validation split stands for it", ProbebenchWarning, stacklevel=3)
        found["test"] = found.pop("val")
    return {split: _complete(found[split]) for split in ("train", "val", "test") if split in found}


def _shards(folder: Path) -> list[Path]:
    """Parquet files of a folder, or of its folder ``data``, sorted by name."""
    for place in (folder, folder / "data"):
        try:
            files = sorted(file for file in place.iterdir() if file.suffix == ".parquet")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(place, error) from error
        if files:
            return files
    return []


def _complete(files: list[Path]) -> list[Path]:
    """The files of one split, if they are all its shards and nothing else."""
    matches = [match for file in files if (match := _SHARD.fullmatch(file.name))]
    if len(words := {match["split"] for match in matches}) > 1:
        raise DataError(
            f"{' and '.join(sorted(words))} are the same split", where=str(files[0].parent), hint="keep one of them"
        )
    numbers = [int(match["number"] or 0) for match in matches]
    wanted = range(max(int(match["count"] or 1) for match in matches))
    if sorted(numbers) != list(wanted):
        raise DataError(
            f"shards {sorted(numbers)} of {len(wanted)} are here, not each of them once",
            where=", ".join(map(str, files)),
            hint="download what is missing, and remove what is left of another version",
        )
    return files


def _classes(
    pictures: Mapping[str, ParquetPictures],
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Names of the classes, and the labels of each split, counted from 0."""
    numbers = {split: shards.labels() for split, shards in pictures.items()}
    found = {split: shards.class_names() for split, shards in pictures.items()}
    names = found["train"]
    if len(set(found.values())) > 1:
        raise DataError(
            "the splits have different class names",
            where=" and ".join(str(shards.files[0]) for shards in pictures.values()),
            hint="use files that were written together",
        )
    known = np.unique(numbers["train"]) if names is None else np.arange(len(names))
    labels: dict[str, NDArray[np.int64]] = {}
    for split, values in numbers.items():
        strange = np.flatnonzero(~np.isin(values, known))
        if len(strange):
            why = "no image in train" if names is None else f"no name among the {len(known)} classes"
            raise DataError(
                f"label {values[strange[0]]} has {why} ({len(strange)} such rows)",
                where=pictures[split].where(int(strange[0])),
                hint="remove these rows, or correct their labels",
            )
        labels[split] = np.searchsorted(known, values)
    return names or tuple(str(number) for number in known.tolist()), labels
