"""Folders of images, with one folder per class."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from probebench.api import DataError, Dataset, ProbebenchWarning, UsageError
from probebench_datasets.images.decoded_images import DecodedImages
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.images.encoded_images import ImageFiles
from probebench_datasets.images.splits import DecodedSplit
from probebench_datasets.user_data.folder_listing import (
    counted,
    image_files_below,
    normalized,
    subfolders,
    warn_of_unsorted,
)
from probebench_datasets.user_data.holdout import hold_out_test

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from probebench_datasets.options import ImageFolderOptions

_SPLITS: Final = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


class ImageFolder(Dataset):
    """Images in folders named after their classes, below ``train``, ``val`` and ``test`` where these exist.

    Without ``test``, the validation split is used as test, as is usual for ImageNet. Without both, a fifth of the
    images is held out, class by class.
    """

    def __init__(self, options: ImageFolderOptions) -> None:
        if not options.path:
            raise UsageError("imagefolder has no path", where="imagefolder", hint="--dataset imagefolder:path=FOLDER")
        folders = _split_folders(Path(options.path).expanduser().absolute())
        if options.seed and "test" in folders:
            raise UsageError(
                f"seed={options.seed} has no effect, because the data has its own test split",
                where=options.path,
                hint="remove seed from the dataset's options",
            )
        self.classes = _classes(folders["train"])
        decoder = Decoder(options.image_size)
        self._splits: dict[str, DecodedSplit] = {}
        for split, folder in folders.items():
            paths, labels = _listing(folder, self.classes)
            images = DecodedImages(
                ImageFiles([f"{folder}/{path}" for path in paths]), decoder, f"{options.name}/{split}"
            )
            parts: Mapping[str, NDArray[np.int64] | None] = {split: None}
            if split == "train":
                self.image_size = images.image_size
                if "test" not in folders:
                    names = [normalized(path) for path in paths]
                    parts = hold_out_test(names, labels, seed=options.seed, where=str(folder))
            for name, part in parts.items():
                self._splits[name] = DecodedSplit(images, labels if part is None else labels[part], part)
        self.splits = tuple(self._splits)

    def split(self, name: str) -> DecodedSplit:
        """Returns one of `splits`."""
        if name not in self._splits:
            raise UsageError(f"no split {name!r}", hint=f"use {' or '.join(self._splits)}")
        return self._splits[name]


def _split_folders(root: Path) -> dict[str, Path]:
    """Returns the folder of each split; without such folders, the whole folder is ``train``."""
    if not root.is_dir():
        raise DataError(
            "the path is a file, not a folder" if root.exists() else "the folder does not exist",
            where=str(root),
            hint="set path to a folder with one folder of images per class",
        )
    folders: dict[str, Path] = {}
    others: list[str] = []
    for name in subfolders(root):
        split = _SPLITS.get(name.lower())
        if split is None:
            others.append(name)
        elif split in folders:
            raise DataError(
                f"{folders[split].name} and {name} are both the split {split}",
                where=str(root),
                hint="keep one of the two folders",
            )
        else:
            folders[split] = root / name
    if not folders:
        return {"train": root}
    warn_of_unsorted(root)
    if others:
        warnings.warn(
            f"ignored {counted(len(others), 'folder')} beside the splits, such as {root / others[0]}",
            ProbebenchWarning,
            stacklevel=3,
        )
    if "train" not in folders:
        raise DataError(
            f"there is {' and '.join(folders)}, but no folder train", where=str(root), hint="add the folder train"
        )
    if "test" not in folders and "val" in folders:
        warnings.warn(
            "there is no test split, so the validation split is used as test", ProbebenchWarning, stacklevel=3
        )
        folders["test"] = folders.pop("val")
    return {split: folders[split] for split in ("train", "val", "test") if split in folders}


def _classes(train: Path) -> tuple[str, ...]:
    classes = tuple(subfolders(train))
    if len(classes) < 2:
        only = f"one folder, {classes[0]!r}" if classes else "no folder"
        raise DataError(
            f"there is {only}, but a dataset needs two classes or more",
            where=str(train),
            hint=f"put images into folders named after their classes, such as {train / 'cat' / '1.jpg'}",
        )
    return classes


def _listing(folder: Path, classes: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Returns the paths of a split's images, relative to its folder, class by class, and their labels."""
    present = subfolders(folder)
    warn_of_unsorted(folder)
    if unknown := [name for name in present if name not in classes]:
        raise DataError(
            f"class {unknown[0]!r} is not in train",
            where=str(folder / unknown[0]),
            hint="add train images of this class, or remove its folder",
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = image_files_below(folder / name) if name in present else []
        if name in present and not files:
            raise DataError(
                f"class {name!r} has no images",
                where=str(folder / name),
                hint="add images to this folder, or remove it",
            )
        paths += [f"{name}/{path}" for path in files]
        labels += [label] * len(files)
    if not paths:
        raise DataError("the split has no images", where=str(folder), hint="add images to this folder, or remove it")
    return paths, np.array(labels, np.int64)
