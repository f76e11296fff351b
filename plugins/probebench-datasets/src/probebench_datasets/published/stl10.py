"""STL-10, from its binary files: 96x96, ten classes, ten folds, and 100,000 images without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from probebench_datasets.downloads.file_sets import FileSet, Source
from probebench_datasets.images.arrays import RawFileImages, ResizedImages
from probebench_datasets.images.splits import ArraySplit, UnlabeledSplit
from probebench_datasets.published.base import PublishedDataset, format_error

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from probebench_datasets.images.arrays import ImageArray
    from probebench_datasets.options import STL10Options

_SIDE = 96
_FOLDS = 10

STL10_BINARY = FileSet(
    folder="stl10_binary",
    parts={
        "train": {
            "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
            "train_y.bin": "5a34089d4802c674881badbb80307741",
        },
        "folds": {"fold_indices.txt": "4bbf8cd098ab9f87fe03fbcb37c06b28"},
        "test": {
            "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
            "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
        },
        "unlabeled": {"unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4"},
    },
    sources=(
        Source(
            "stl10_binary.tar.gz",
            "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
            "91f7769df0f17e558f3565bffb0c7dfb",
        ),
    ),
)


class STL10(PublishedDataset):
    """STL-10: 5,000 train images, or one of their ten folds of 1,000, and 8,000 test images."""

    name = "stl10"
    file_sets = (STL10_BINARY,)
    classes = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    unlabeled = ("unlabeled",)

    def __init__(self, options: STL10Options) -> None:
        super().__init__(options)
        self._fold = options.fold
        self.image_size = (options.image_size, options.image_size)

    def _open(self, name: str) -> ArraySplit:
        _, paths = self._files.part(name)
        if name == "unlabeled":
            return UnlabeledSplit(self._images(paths[0]), "stl10/unlabeled")
        labels = np.fromfile(paths[1], np.uint8).astype(np.int64) - 1  # the file counts from 1
        count = _stored(paths[0]).shape[0]
        if len(labels) != count:
            raise format_error(paths[1], f"{paths[1].name} has {len(labels)} labels for {count} images")
        if name == "test" or self._fold == "all":
            return ArraySplit(self._images(paths[0]), labels)
        chosen = self._chosen(count)
        return ArraySplit(self._images(paths[0], chosen), labels[chosen])

    def _images(self, path: Path, chosen: NDArray[np.int64] | None = None) -> ImageArray:
        stored, (side, _) = _stored(path, chosen), self.image_size
        return stored if side == _SIDE else ResizedImages(stored, side)

    def _chosen(self, count: int) -> NDArray[np.int64]:
        """Returns the positions of the fold's images, in the order of the file."""
        _, (path,) = self._files.part("folds")
        lines = path.read_text("ascii").splitlines()
        if len(lines) != _FOLDS:
            raise format_error(path, f"{path.name} has {len(lines)} lines, not one for each of {_FOLDS} folds")
        chosen = np.array(lines[int(self._fold)].split(), dtype=np.int64)
        if not len(chosen) or chosen.min() < 0 or chosen.max() >= count:
            raise format_error(path, f"fold {self._fold} in {path.name} has positions outside the {count} images")
        return chosen


fetch_stl10 = STL10.fetch


def _stored(path: Path, chosen: NDArray[np.int64] | None = None) -> RawFileImages:
    """Returns the images of a file, in which they are stored channel by channel and column by column, as in MATLAB."""
    return RawFileImages(path, (3, _SIDE, _SIDE), axes=(0, 2, 1), chosen=chosen)
