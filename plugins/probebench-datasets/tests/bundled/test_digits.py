"""The bundled digits: the same as scikit-learn's, in the same order, from our own files."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import sklearn.datasets
import torch

from probebench.api import NoOptions, UsageError
from probebench_datasets import bundled
from probebench_datasets.bundled.digits import IMAGES_FILE, LABELS_FILE, Digits, load_digits

# These fingerprints are in committed records and in the keys of stored features. If a change is intended, raise the
# version of the dataset.
FINGERPRINTS = {
    "train": "3bd5baf5fd7d7122b0834d14dc815099a69bccd8c9c1d0766ed2b9f166e50be9",
    "test": "89ef5c0a8e3d10e5f1118d355095f1b0ee657257c2d807108bc493b630d4d133",
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_fingerprints(split):
    assert Digits(NoOptions()).split(split).fingerprint() == FINGERPRINTS[split]


def test_the_files_hold_the_digits_of_scikit_learn():
    """All images, in the same order, and from their grey values the original values from 0 to 16; all labels."""
    images, labels = load_digits()
    reference = sklearn.datasets.load_digits()
    assert (images.shape, images.dtype, labels.dtype) == ((1797, 8, 8), np.uint8, np.int64)
    assert np.array_equal(images, np.rint(reference.images * 255 / 16))
    assert np.array_equal(np.rint(images / 255 * 16), reference.images)
    assert np.array_equal(labels, reference.target)


def test_the_licence_is_beside_the_files():
    package = files(bundled)
    text = package.joinpath("digits_LICENSE.md").read_text("utf-8")
    assert all(word in text for word in (IMAGES_FILE, LABELS_FILE, "Alpaydin", "Kaynak", "CC BY 4.0"))
    assert sum(len(package.joinpath(name).read_bytes()) for name in (IMAGES_FILE, LABELS_FILE)) < 100_000


def test_splits_are_the_digits_in_their_order():
    dataset = Digits(NoOptions())
    images, labels = load_digits()
    train, test = dataset.split("train"), dataset.split("test")
    assert (len(train), len(test)) == (1437, 360)
    assert torch.cat([train.labels(), test.labels()]).tolist() == labels.tolist()
    rgb = torch.stack([split.image(i) for split in (train, test) for i in range(len(split))])
    assert rgb.shape == (1797, 3, 8, 8)
    assert all(np.array_equal(rgb[:, channel], images) for channel in range(3))


def test_no_digit_is_in_both_splits():
    dataset = Digits(NoOptions())
    splits = {name: dataset.split(name) for name in ("train", "test")}
    pixels = {name: {split.image(i).numpy().tobytes() for i in range(len(split))} for name, split in splits.items()}
    assert not pixels["train"] & pixels["test"]


def test_a_split_that_does_not_exist():
    with pytest.raises(UsageError, match=r"no split 'val'\n.*train or test") as error:
        Digits(NoOptions()).split("val")
    assert error.value.exit_code == 2


def test_mirrored_digits_are_not_digits():
    assert Digits.flips is False
    assert Digits.classes == tuple("0123456789")
