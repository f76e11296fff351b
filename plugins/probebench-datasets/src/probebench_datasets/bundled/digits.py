"""Handwritten digits that come with scikit-learn: plain, and scattered over coloured scenes."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import interpolate

from probebench.api import Dataset, Options, UsageError
from probebench_datasets.images.arrays import ArraySplit, ResizedImages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probebench_datasets import ScatteredDigitsOptions

TRAIN_DIGITS = 1437
"""The first 1437 samples are the train digits, the last 360 the test digits; no sample is in both."""

CANVAS = 16
DIGIT = 10
DARK = 112
"""Paper colours have every channel below this value, ink colours none: all digits can be read."""


@cache
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All 1797 digits: uint8 ``(1797, 8, 8)`` from 0 to 255, and their labels."""
    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)


def _digit_range(split: str) -> range:
    if split == "train":
        return range(TRAIN_DIGITS)
    if split == "test":
        return range(TRAIN_DIGITS, len(_digits()[1]))
    raise UsageError(f"no split {split!r}", hint="train or test")


class Digits(Dataset):
    """The digits as they are: grey, 8x8, centred, 1437 for training and 360 for testing."""

    classes = tuple(str(digit) for digit in range(10))
    image_size = (8, 8)
    flips = False

    def __init__(self, options: Options) -> None:
        del options

    def split(self, name: str) -> ArraySplit:
        """``train`` or ``test``."""
        wanted = _digit_range(name)
        images, labels = _digits()
        part = slice(wanted.start, wanted.stop)
        grey = images[part]
        return ArraySplit(np.broadcast_to(grey[:, None], (len(grey), 3, *self.image_size)), labels[part])


def _scene(position: int, split: str) -> tuple[NDArray[np.uint8], int]:
    """One scene and its label; depends on the split's name and the position alone."""
    seed = hashlib.sha256(f"scattered-digits/{split}/{position}".encode()).digest()
    # Raw PCG64 output is fixed by its definition; the distributions built on it may change between NumPy versions.
    draws = np.random.PCG64(int.from_bytes(seed[:16], "big")).random_raw(9).astype(object)
    wanted = _digit_range(split)
    digit = wanted[draws[0] % len(wanted)]
    top, left = draws[1] % (CANVAS - DIGIT + 1), draws[2] % (CANVAS - DIGIT + 1)
    ink = np.array([DARK + draw % (256 - DARK) for draw in draws[3:6]], dtype=np.float64)
    paper = np.array([draw % DARK for draw in draws[6:9]], dtype=np.float64)
    ink_share = _enlarged()[digit][..., None]
    scene = np.broadcast_to(paper, (CANVAS, CANVAS, 3)).astype(np.float64)
    window = scene[top : top + DIGIT, left : left + DIGIT]
    window[:] = window * (1 - ink_share) + ink * ink_share
    return np.rint(scene).astype(np.uint8).transpose(2, 0, 1), int(_digits()[1][digit])


@cache
def _enlarged() -> NDArray[np.float64]:
    """All digits at 10x10, 0 to 1, bilinear."""
    images, _ = _digits()
    small = torch.from_numpy(images.astype(np.float64) / 255)[:, None]
    large = interpolate(small, size=(DIGIT, DIGIT), mode="bilinear", align_corners=False)
    return large[:, 0].numpy()


class ScatteredDigits(Dataset):
    """A light digit at a random place and in a random colour, on a dark background of another: 16x16 RGB.

    Hard for raw pixels, easy for good features. Every scene is a function of its split and position, and scenes of
    train and test are drawn from different handwritten samples. Another size shows the same scenes, resized.
    """

    classes = tuple(str(digit) for digit in range(10))
    image_size = (CANVAS, CANVAS)
    flips = False

    def __init__(self, options: ScatteredDigitsOptions) -> None:
        self._sizes = {"train": options.train, "test": options.test}
        self.image_size = (options.image_size, options.image_size)

    def split(self, name: str) -> ArraySplit:
        """``train`` or ``test``; takes about a second for 6,000 scenes."""
        _digit_range(name)
        scenes = [_scene(position, name) for position in range(self._sizes[name])]
        images, (side, _) = np.stack([image for image, _ in scenes]), self.image_size
        if side != CANVAS:
            images = ResizedImages(images, side)[:]
        return ArraySplit(images, np.array([label for _, label in scenes], dtype=np.int64))
