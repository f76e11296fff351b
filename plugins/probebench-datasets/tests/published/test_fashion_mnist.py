"""Fashion-MNIST: its resizing, and files in another format."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
import torch

from probebench.api import DataError


def test_resizing_is_bicubic(tmp_path, make, noise):
    """Compared with a bicubic filter of our own: Pillow's has a = -0.5, and 28 to 32 needs no wider support."""
    small = make("fashion-mnist", tmp_path)
    split = small.build(image_size=32).split("train")
    images = torch.stack([split.image(index) for index in range(len(split))])
    assert images.shape == (30, 3, 32, 32)
    grey = noise(0, 30, 28, 28).astype(np.float64)
    weights = np.zeros((32, 28))
    for row in range(32):
        centre = (row + 0.5) * 28 / 32
        for column in range(28):
            x = abs(column + 0.5 - centre)
            if x < 1:
                weights[row, column] = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x < 2:
                weights[row, column] = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights /= weights.sum(1, keepdims=True)
    rounded = np.clip(np.einsum("rc,nkc->nkr", weights, grey).round(), 0, 255)
    expected = np.clip(np.einsum("rk,nkc->nrc", weights, rounded), 0, 255)
    difference = np.abs(images[:, 0].numpy() - expected)
    assert difference.max() < 1.6, "half a grey value, and one where the first of the two passes rounds the other way"
    assert difference.mean() < 0.3
    assert torch.equal(images[:, 0], images[:, 2])
    original = small.build().split("train").fingerprint()
    assert small.build(image_size=28).split("train").fingerprint() == original
    assert split.fingerprint() != original


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("t10k-images-idx3-ubyte.gz", lambda data: data[:-10], "is not an IDX file"),
        ("t10k-images-idx3-ubyte.gz", lambda data: b"text", "is not an IDX file"),
        ("t10k-labels-idx1-ubyte.gz", lambda _: gzip.compress(b"12345678"), "is not an IDX file"),
        (
            "t10k-labels-idx1-ubyte.gz",
            lambda _: gzip.compress(struct.pack(">2I", 0x801, 3) + bytes(3)),
            "has 3 labels for 20 images",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            lambda _: gzip.compress(struct.pack(">2I", 0xD01, 3) + bytes(3)),
            "begins with 00000d01",
        ),
    ],
    ids=["truncated", "text", "too-short", "three-labels", "floats"],
)
def test_files_in_another_format(tmp_path, make, file, damage, message):
    """Even if their checksums are the expected ones."""
    small = make("fashion-mnist", tmp_path)
    path = small.folder / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as error:
        small.with_current_checksums().build().split("test")
    assert error.value.where == str(path)
