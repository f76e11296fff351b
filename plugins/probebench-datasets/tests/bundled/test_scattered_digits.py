"""Scattered digits: the same images on every machine, and no handwritten digit in both splits."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from probebench.api import UsageError
from probebench_datasets.bundled.digits import load_digits
from probebench_datasets.bundled.scattered_digits import ScatteredDigits, _multiply_add
from probebench_datasets.options import ScatteredDigitsOptions

# These fingerprints are in committed records, in the keys of stored features and in bundled weights. A change of NumPy,
# Pillow or our code that changes one grey value must fail here. If a change is intended, raise the version of the
# dataset, and make leaderboards and weights again.
FINGERPRINTS = {
    "train": "a8d44eb0916ae2d0633bb321e8130c940a855e06b033f03e4cdcd4e84457167d",
    "test": "2346edee2c6f17214572473279a967125a9979a6fcfa0d106e046bc2ca37035d",
}
TRAIN_DIGITS = range(1437)
TEST_DIGITS = range(1437, 1797)


@pytest.fixture(scope="module")
def scattered():
    """Returns all images and the split, by name of the split."""
    dataset = ScatteredDigits(ScatteredDigitsOptions())
    splits = {name: dataset.split(name) for name in dataset.splits}
    return {name: (torch.stack([split.image(i) for i in range(len(split))]), split) for name, split in splits.items()}


def small(train: int = 20, test: int = 20) -> ScatteredDigits:
    return ScatteredDigits(ScatteredDigitsOptions(train=train, test=test))


@cache
def sampled(split: str, position: int) -> dict[str, int | list[int]]:
    """Samples what an image shows by the description of the dataset, and not by its code."""
    seed = int.from_bytes(hashlib.sha256(f"scattered-digits/{split}/{position}".encode()).digest()[:16], "big")
    numbers = [int(number) for number in np.random.PCG64(seed).random_raw(9)]
    digits = TRAIN_DIGITS if split == "train" else TEST_DIGITS
    return {
        "digit": digits[numbers[0] % len(digits)],
        "top": numbers[1] % 7,
        "left": numbers[2] % 7,
        "foreground": [112 + number % 144 for number in numbers[3:6]],
        "background": [number % 112 for number in numbers[6:9]],
    }


def enlarge(grey: np.ndarray) -> np.ndarray:
    """Enlarges 8x8 to 10x10, bilinear between pixel centres, with repeated edges: plain loops."""
    large = np.zeros((10, 10))
    for row in range(10):
        for column in range(10):
            y, x = (min(max((index + 0.5) * 0.8 - 0.5, 0), 7) for index in (row, column))
            top, left = int(y), int(x)
            below, right = min(top + 1, 7), min(left + 1, 7)
            upper = grey[top, left] * (left + 1 - x) + grey[top, right] * (x - left)
            lower = grey[below, left] * (left + 1 - x) + grey[below, right] * (x - left)
            large[row, column] = upper * (top + 1 - y) + lower * (y - top)
    return large


@pytest.mark.parametrize("split", ["train", "test"])
def test_fingerprints(scattered, split):
    """They hold on every processor, because each grey value is computed exactly and rounded by definition."""
    assert scattered[split][1].fingerprint() == FINGERPRINTS[split]


def test_sums_are_rounded_once():
    random = np.random.default_rng(0)
    for factor, weight, addend in random.random((1000, 3)).tolist():
        assert _multiply_add(factor, weight, addend) == float(Fraction(factor) * Fraction(weight) + Fraction(addend))
    assert _multiply_add(0.0, 0.3, 0.7) == _multiply_add(0.3, 0.0, 0.7) == 0.7


@pytest.mark.parametrize("split", ["train", "test"])
def test_images_are_as_described(scattered, split):
    """The first hundred images, computed again by other code, up to rounding."""
    grey, digit_labels = load_digits()
    images, opened = scattered[split]
    labels = opened.labels()
    for position in range(100):
        sample = sampled(split, position)
        share = enlarge(grey[sample["digit"]] / 255)
        expected = np.empty((3, 16, 16))
        for channel in range(3):
            foreground, background = sample["foreground"][channel], sample["background"][channel]
            expected[channel] = background
            window = np.s_[channel, sample["top"] : sample["top"] + 10, sample["left"] : sample["left"] + 10]
            expected[window] = background * (1 - share) + foreground * share
        assert np.abs(expected - images[position].numpy()).max() <= 0.5 + 1e-6, position
        assert labels[position] == digit_labels[sample["digit"]]


def test_no_digit_is_in_both_splits(scattered):
    sizes = {name: len(split) for name, (_, split) in scattered.items()}
    used = {name: {sampled(name, position)["digit"] for position in range(size)} for name, size in sizes.items()}
    assert not used["train"] & used["test"]
    assert len(used["train"]) > 0.95 * len(TRAIN_DIGITS)
    assert len(used["test"]) > 0.95 * len(TEST_DIGITS)


def test_no_image_is_in_both_splits(scattered):
    images = {name: {image.numpy().tobytes() for image in images} for name, (images, _) in scattered.items()}
    assert len(images["train"]) == 6000
    assert len(images["test"]) == 2000
    assert not images["train"] & images["test"]


@pytest.mark.parametrize(("split", "count"), [("train", 6000), ("test", 2000)])
def test_classes_are_balanced(scattered, split, count):
    labels = scattered[split][1].labels()
    assert len(labels) == count
    share = torch.bincount(labels, minlength=10) / count
    assert len(share) == 10
    assert float((share - 0.1).abs().max()) < 0.025, "chance is 10 %"


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_digit_can_be_read(scattered, split):
    """No pixel is darker than the background, which fills everything outside the digit."""
    images = scattered[split][0].numpy()
    samples = [sampled(split, position) for position in range(len(images))]
    background = np.array([sample["background"] for sample in samples], np.uint8)[..., None, None]
    assert (images >= background).all()
    rows, columns = np.ogrid[:16, :16]
    top, left = (np.array([sample[side] for sample in samples])[:, None, None] for side in ("top", "left"))
    inside = (rows >= top) & (rows < top + 10) & (columns >= left) & (columns < left + 10)
    assert inside.sum((1, 2)).tolist() == [100] * len(images)
    assert np.where(inside[:, None], background, images).tolist() == np.broadcast_to(background, images.shape).tolist()
    contrast = (images - background).max((2, 3)).astype(int).sum(1)
    assert contrast.min() > 30, f"digit {contrast.argmin()} is almost invisible"
    assert background.max() < 112 <= min(min(sample["foreground"]) for sample in samples)


def test_positions_are_uniform(scattered):
    samples = [sampled("train", position) for position in range(6000)]
    counts = torch.bincount(torch.tensor([7 * sample["top"] + sample["left"] for sample in samples]), minlength=49)
    assert len(counts) == 49
    expected = 6000 / 49
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 85, "the 99.9 % point of chi-square with 48 degrees of freedom"


def test_colours_are_independent_of_the_label(scattered):
    """Colours are sampled separately: their mean over a class is that over all images."""
    images, split = scattered["train"]
    background = images.flatten(2).min(2).values.double()
    labels = split.labels()
    for digit in range(10):
        difference = background[labels == digit].mean(0) - background.mean(0)
        assert float(difference.abs().max()) < 5.5, digit  # 4 standard errors of 600 samples from 0..111


def test_an_image_does_not_depend_on_the_number_of_images():
    few, many = small(12, 10).split("train"), small(40, 10).split("train")
    assert len(few) == 12
    assert len(many) == 40
    assert all(torch.equal(few.image(index), many.image(index)) for index in range(12))
    assert torch.equal(few.labels(), many.labels()[:12])
    assert torch.equal(small(10, 15).split("test").labels(), small(99, 30).split("test").labels()[:15])


@pytest.mark.parametrize("side", [8, 32])
def test_another_size_resizes_the_same_images(side):
    dataset, plain = ScatteredDigits(ScatteredDigitsOptions(train=10, test=12, image_size=side)), small(10, 12)
    assert dataset.image_size == (side, side)
    for name in ("train", "test"):
        split, original = dataset.split(name), plain.split(name)
        assert torch.equal(split.labels(), original.labels())
        for index in range(len(split)):
            image = Image.fromarray(original.image(index).numpy().transpose(1, 2, 0))
            expected = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            assert np.array_equal(split.image(index).numpy(), expected)


def test_a_split_that_does_not_exist():
    with pytest.raises(UsageError, match=r"no split 'val'\n.*train or test") as error:
        small().split("val")
    assert error.value.exit_code == 2


def test_mirrored_digits_are_not_digits():
    assert ScatteredDigits.flips is False
    assert ScatteredDigits.classes == tuple("0123456789")
