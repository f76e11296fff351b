"""Handwritten digits: 8x8, grey and centred. Their images and labels are part of this package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from probebench.api import Dataset, Options, UsageError
from probebench_datasets.images.splits import ArraySplit

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES_FILE = "digits.png"
"""The digits in rows of 40; see digits_LICENSE.md for their source and licence."""

LABELS_FILE = "digits_labels.txt"
"""Their labels, one line for each row of the image."""

SIDE = 8
TRAIN_DIGITS = 1437
"""The first 1437 digits are in train, the last 360 in test."""


@cache
def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Reads all 1797 digits: uint8 ``(1797, 8, 8)`` from 0 to 255, and their labels."""
    package = files(__package__)
    labels = np.array(list("".join(package.joinpath(LABELS_FILE).read_text("ascii").split())), dtype=np.int64)
    with package.joinpath(IMAGES_FILE).open("rb") as file, Image.open(file) as image:
        sheet = np.asarray(image)
    rows, columns = (length // SIDE for length in sheet.shape)
    digits = sheet.reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)
    return digits[: len(labels)], labels


def digits_of(split: str) -> range:
    """Returns the positions of a split's digits.

    Raises:
        UsageError: There is no such split.
    """
    if split == "train":
        return range(TRAIN_DIGITS)
    if split == "test":
        return range(TRAIN_DIGITS, len(load_digits()[1]))
    raise UsageError(f"no split {split!r}", hint="use train or test")


class Digits(Dataset):
    """The digits themselves: grey, 8x8, centred, 1437 train and 360 test images."""

    classes = tuple(str(digit) for digit in range(10))
    image_size = (SIDE, SIDE)
    flips = False

    def __init__(self, options: Options) -> None:
        del options

    def split(self, name: str) -> ArraySplit:
        """Returns ``train`` or ``test``."""
        chosen = digits_of(name)
        images, labels = load_digits()
        part = slice(chosen.start, chosen.stop)
        grey = images[part]
        return ArraySplit(np.broadcast_to(grey[:, None], (len(grey), 3, SIDE, SIDE)), labels[part])
