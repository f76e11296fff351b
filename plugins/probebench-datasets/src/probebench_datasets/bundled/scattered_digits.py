"""Handwritten digits at random positions and in random colours."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from probebench.api import Dataset
from probebench_datasets.bundled.digits import SIDE, digits_of, load_digits
from probebench_datasets.images.arrays import ResizedImages
from probebench_datasets.images.splits import ArraySplit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from probebench_datasets.options import ScatteredDigitsOptions

CANVAS = 16
DIGIT = 10
DARK = 112
"""Every channel of the background colour is below this value, and of the digit's colour at or above it."""


class ScatteredDigits(Dataset):
    """A bright digit at a random position and in a random colour, on a dark background of another colour: 16x16 RGB.

    Hard for raw pixels, easy for good features. Every image is a function of its split and position, and the images of
    train and test show different handwritten digits. Another size resizes the same images.
    """

    classes = tuple(str(digit) for digit in range(10))
    image_size = (CANVAS, CANVAS)
    flips = False

    def __init__(self, options: ScatteredDigitsOptions) -> None:
        self._sizes = {"train": options.train, "test": options.test}
        self.image_size = (options.image_size, options.image_size)

    def split(self, name: str) -> ArraySplit:
        """Returns ``train`` or ``test``; takes about a second for 6,000 images."""
        digits_of(name)
        rendered = [_rendered(position, name) for position in range(self._sizes[name])]
        images, (side, _) = np.stack([image for image, _ in rendered]), self.image_size
        if side != CANVAS:
            images = ResizedImages(images, side)[:]
        return ArraySplit(images, np.array([label for _, label in rendered], dtype=np.int64))


def _rendered(position: int, split: str) -> tuple[NDArray[np.uint8], int]:
    """Returns one image and its label, which depend on the name of the split and the position alone."""
    seed = hashlib.sha256(f"scattered-digits/{split}/{position}".encode()).digest()
    # Raw PCG64 output is fixed by its definition; the distributions built on it may change between NumPy versions.
    samples = np.random.PCG64(int.from_bytes(seed[:16], "big")).random_raw(9).astype(object)
    chosen = digits_of(split)
    digit = chosen[samples[0] % len(chosen)]
    top, left = samples[1] % (CANVAS - DIGIT + 1), samples[2] % (CANVAS - DIGIT + 1)
    foreground = np.array([DARK + sample % (256 - DARK) for sample in samples[3:6]], dtype=np.float64)
    background = np.array([sample % DARK for sample in samples[6:9]], dtype=np.float64)
    coverage = _enlarged(digit)[..., None]
    canvas = np.broadcast_to(background, (CANVAS, CANVAS, 3)).astype(np.float64)
    window = canvas[top : top + DIGIT, left : left + DIGIT]
    window[:] = window * (1 - coverage) + foreground * coverage
    return np.rint(canvas).astype(np.uint8).transpose(2, 0, 1), int(load_digits()[1][digit])


@cache
def _enlarged(digit: int) -> NDArray[np.float64]:
    """Returns one digit at 10x10, 0 to 1, bilinear.

    Many pixels of an image are exactly halfway between two grey values, so the last bit of this coverage decides. A
    library whose rounding depends on the processor would therefore give other images on other machines. These are the
    bits that `torch.nn.functional.interpolate` gives with fused multiply-add (AVX2), on which the fingerprints in all
    records depend, computed exactly on any processor.
    """
    pixels = (load_digits()[0][digit] / 255).ravel()
    coverage = [0.0] * DIGIT**2
    for positions, weights in _bilinear_corners():
        coverage = list(map(_multiply_add, pixels[positions].tolist(), weights, coverage))
    return np.array(coverage).reshape(DIGIT, DIGIT)


@cache
def _bilinear_corners() -> list[tuple[NDArray[np.int64], list[float]]]:
    """Returns positions and weights of the four pixels that each enlarged pixel is the sum of, in the order of AVX2."""
    scale = Fraction(SIDE / DIGIT)
    centres: NDArray[np.float64] = np.array(
        [max(float(scale * Fraction(2 * row + 1, 2) - Fraction(1, 2)), 0) for row in range(DIGIT)]
    )
    first = centres.astype(np.int64)
    near = first, 1 - (centres - first)
    far = np.minimum(first + 1, SIDE - 1), centres - first
    return [
        (np.add.outer(rows * SIDE, columns).ravel(), np.outer(row_weights, column_weights).ravel().tolist())
        for (rows, row_weights), (columns, column_weights) in ((near, far), (near, near), (far, near), (far, far))
    ]


def _multiply_add(factor: float, weight: float, addend: float) -> float:
    """Returns ``factor * weight + addend``, rounded once. The numbers are multiples of ``2 ** -80``."""
    if not factor or not weight:
        return addend
    unit = 1 << 80
    return (int(factor * unit) * int(weight * unit) + int(addend * unit) * unit) / (unit * unit)
