"""Parquet files in the layout of Hugging Face: a column of images and a column of labels, in one file or in shards."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probebench.api import DataError, Dataset, ProbebenchWarning, UsageError
from probebench_datasets.images.decoded_images import DecodedImages
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.images.file_stamps import read_error
from probebench_datasets.images.splits import DecodedSplit
from probebench_datasets.user_data.folder_listing import counted
from probebench_datasets.user_data.holdout import hold_out_test, require_train_images
from probebench_datasets.user_data.parquet_reader import ParquetImages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from probebench_datasets.options import ParquetOptions

_SHARD = re.compile(r"(?P<split>[A-Za-z]+)(?:-(?P<number>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]+)?)?\.parquet")
_SPLITS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


class Parquet(Dataset):
    """Images in Parquet files.

    The names of the files give their splits (``train-00000-of-00002.parquet``). Without ``test``, the validation split
    is used as test, as is usual for ImageNet. Without both, a fifth of the images is held out, class by class.
    """

    def __init__(self, options: ParquetOptions) -> None:
        if not options.path:
            raise UsageError("parquet has no path", where="parquet", hint="--dataset parquet:path=FOLDER")
        files = _split_files(Path(options.path).expanduser().absolute())
        encoded = {split: ParquetImages(paths) for split, paths in files.items()}
        self.classes, labels = _classes(encoded)
        require_train_images(self.classes, labels, where=options.path)
        decoder = Decoder(options.image_size)
        images = {split: DecodedImages(rows, decoder, f"{options.name}/{split}") for split, rows in encoded.items()}
        self._splits = {split: DecodedSplit(images[split], labels[split]) for split in images}
        if "test" not in images:
            rows = [str(row) for row in range(len(labels["train"]))]
            parts = hold_out_test(rows, labels["train"], seed=options.seed, where=options.path)
            self._splits = {
                split: DecodedSplit(images["train"], labels["train"][part], part) for split, part in parts.items()
            }
        elif options.seed:
            raise UsageError(
                f"seed={options.seed} has no effect, because the data has its own test split",
                where=options.path,
                hint="remove seed from the dataset's options",
            )
        self.splits = tuple(self._splits)
        self.image_size = images["train"].image_size

    def split(self, name: str) -> DecodedSplit:
        """Returns one of `splits`."""
        if name not in self._splits:
            raise UsageError(f"no split {name!r}", hint=f"use {' or '.join(self._splits)}")
        return self._splits[name]


def _split_files(path: Path) -> dict[str, list[Path]]:
    """Returns the files of each split, in their order; a single file is ``train``."""
    if path.is_file():
        return {"train": [path]}
    if not path.exists():
        raise DataError(
            "the path does not exist", where=str(path), hint="set path to a Parquet file, or to a folder of them"
        )
    files: dict[str, list[Path]] = {}
    others: list[Path] = []
    for file in _parquet_files(path):
        match = _SHARD.fullmatch(file.name)
        split = _SPLITS.get(match["split"].lower()) if match else None
        if split:
            files.setdefault(split, []).append(file)
        else:
            others.append(file)
    if "train" not in files:
        raise DataError(
            "the folder has no file train-*.parquet",
            where=str(path),
            hint="rename the files to train-00000-of-00001.parquet and so on, or set path to a single file",
        )
    if others:
        warnings.warn(
            f"ignored {counted(len(others), 'file')} whose name does not begin with train, val or test, such as "
            f"{others[0]}",
            ProbebenchWarning,
            stacklevel=3,
        )
    if "test" not in files and "val" in files:
        warnings.warn(
            "there is no test split, so the validation split is used as test", ProbebenchWarning, stacklevel=3
        )
        files["test"] = files.pop("val")
    return {split: _all_shards(files[split]) for split in ("train", "val", "test") if split in files}


def _parquet_files(folder: Path) -> list[Path]:
    """Returns the Parquet files of a folder, or of its folder ``data``, sorted by name."""
    for parent in (folder, folder / "data"):
        try:
            files = sorted(file for file in parent.iterdir() if file.suffix == ".parquet")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise read_error(parent, error) from error
        if files:
            return files
    return []


def _all_shards(files: list[Path]) -> list[Path]:
    """Returns the files of one split, and raises an error unless they are each of its shards once."""
    matches = [match for file in files if (match := _SHARD.fullmatch(file.name))]
    if len(names := {match["split"] for match in matches}) > 1:
        raise DataError(
            f"{' and '.join(sorted(names))} are the same split",
            where=str(files[0].parent),
            hint="keep the files of one of them",
        )
    numbers = [int(match["number"] or 0) for match in matches]
    expected = range(max(int(match["count"] or 1) for match in matches))
    if sorted(numbers) != list(expected):
        raise DataError(
            f"the split has the shards {sorted(numbers)}, not each of its {len(expected)} shards once",
            where=", ".join(map(str, files)),
            hint="download the missing shards, and remove shards of another version",
        )
    return files


def _classes(
    encoded: Mapping[str, ParquetImages],
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    """Returns the names of the classes, and the labels of each split, counted from 0."""
    numbers = {split: shards.labels() for split, shards in encoded.items()}
    names_of = {split: shards.class_names() for split, shards in encoded.items()}
    names = names_of["train"]
    if len(set(names_of.values())) > 1:
        raise DataError(
            "the splits have different class names",
            where=" and ".join(str(shards.files[0]) for shards in encoded.values()),
            hint="use files that were written together",
        )
    known = np.unique(numbers["train"]) if names is None else np.arange(len(names))
    labels: dict[str, NDArray[np.int64]] = {}
    for split, values in numbers.items():
        unknown = np.flatnonzero(~np.isin(values, known))
        if len(unknown):
            why = "no image in train" if names is None else f"no name among the {len(known)} classes"
            raise DataError(
                f"label {values[unknown[0]]} has {why} ({counted(len(unknown), 'such row')})",
                where=encoded[split].where(int(unknown[0])),
                hint="remove these rows, or correct their labels",
            )
        labels[split] = np.searchsorted(known, values)
    return names or tuple(str(number) for number in known.tolist()), labels
