"""A folder with a folder of pictures for each class."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from probebench.api import DataError, Dataset, ProbebenchWarning, UsageError
from probebench_datasets.images.decoded_images import DecodedImages, DecodedSplit
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.user_data.folder_listing import (
    FilePictures,
    counted,
    pictures_below,
    spelt,
    subfolders,
    warn_of_loose,
)
from probebench_datasets.user_data.holdout import set_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from probebench_datasets.options import ImageFolderOptions

_SPLITS: Final = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}


class ImageFolder(Dataset):
    """Pictures in folders that are named after their classes; below ``train``, ``val``, ``test`` where there are such.

    Where there is no ``test``, it is the validation split, as is usual for ImageNet, or a fifth of the images, set
    aside class by class.
    """

    def __init__(self, options: ImageFolderOptions) -> None:
        if not options.path:
            raise UsageError("imagefolder needs a path", where="imagefolder", hint="imagefolder:path=FOLDER")
        places = _places(Path(options.path).expanduser().absolute())
        if options.seed and "test" in places:
            raise UsageError("the data has its own test split", where=f"seed={options.seed}", hint="leave seed out")
        self.classes = _classes(places["train"])
        decoder = Decoder(options.image_size)
        self._splits: dict[str, DecodedSplit] = {}
        for split, place in places.items():
            paths, labels = _listing(place, self.classes)
            pictures = FilePictures([f"{place}/{path}" for path in paths])
            images = DecodedImages(pictures, decoder, f"{options.name}/{split}")
            parts: Mapping[str, NDArray[np.int64] | None] = {split: None}
            if split == "train":
                self.image_size = images.image_size
                if "test" not in places:
                    parts = set_aside([spelt(path) for path in paths], labels, seed=options.seed, where=str(place))
            for name, part in parts.items():
                self._splits[name] = DecodedSplit(images, labels if part is None else labels[part], part)
        self.splits = tuple(self._splits)

    def split(self, name: str) -> DecodedSplit:
        """One of the splits there are."""
        if name not in self._splits:
            raise UsageError(f"no split {name!r}", hint=" or ".join(self._splits))
        return self._splits[name]


def _places(root: Path) -> dict[str, Path]:
    """The folder of each split; where there are no such folders, all of it is ``train``."""
    if not root.is_dir():
        what = "this is a file" if root.exists() else "there is no such folder"
        raise DataError(what, where=str(root), hint="path=FOLDER with a folder of pictures for each class")
    found: dict[str, Path] = {}
    others: list[str] = []
    for name in subfolders(root):
        split = _SPLITS.get(name.lower())
        if split is None:
            others.append(name)
        elif split in found:
            raise DataError(
                f"{found[split].name} and {name} are both the split {split}", where=str(root), hint="keep one of them"
            )
        else:
            found[split] = root / name
    if not found:
        return {"train": root}
    warn_of_loose(root)
    if others:
        warnings.warn(
            f"left out {counted(len(others), 'folder')} beside the splits, such as {root / others[0]}",
            ProbebenchWarning,
            stacklevel=3,
        )
    if "train" not in found:
        raise DataError(f"there is {' and '.join(found)}, and no train", where=str(root), hint="add the folder train")
    if "test" not in found and "val" in found:
        warnings.warn("there is no test split: the validation split stands for it", ProbebenchWarning, stacklevel=3)
        found["test"] = found.pop("val")
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _classes(train: Path) -> tuple[str, ...]:
    classes = tuple(subfolders(train))
    if len(classes) < 2:
        found = f"only the folder {classes[0]!r}" if classes else "no folder"
        raise DataError(
            f"there is {found}: two classes or more are needed",
            where=str(train),
            hint=f"put pictures into folders named after their classes, such as {train / 'cat' / '1.jpg'}",
        )
    return classes


def _listing(place: Path, classes: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Paths of a split's pictures, from its folder on, class by class, and their labels."""
    here = subfolders(place)
    warn_of_loose(place)
    if unknown := [name for name in here if name not in classes]:
        raise DataError(
            f"class {unknown[0]!r} is not in train",
            where=str(place / unknown[0]),
            hint="add train pictures of it, or remove the folder",
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = pictures_below(place / name) if name in here else []
        if name in here and not found:
            raise DataError(
                f"class {name!r} has no picture",
                where=str(place / name),
                hint="add pictures, or remove the folder",
            )
        paths += [f"{name}/{path}" for path in found]
        labels += [label] * len(found)
    if not paths:
        raise DataError("there is no picture", where=str(place), hint="add pictures, or remove the folder")
    return paths, np.array(labels, np.int64)
