"""SVHN: mirrored digits, and files in another format."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from probebench.api import DataError


def test_mirrored_house_numbers_are_not_house_numbers(tmp_path, make):
    assert make("svhn", tmp_path).build().flips is False


@pytest.mark.parametrize("damage", [lambda data: data[:300], lambda data: b"text"], ids=["truncated", "text"])
def test_files_in_another_format(tmp_path, make, damage):
    """Even if their checksums are the expected ones."""
    small = make("svhn", tmp_path)
    path = small.folder / "test_32x32.mat"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="is not a file of SVHN") as error:
        small.with_current_checksums().build().split("test")
    assert error.value.where == str(path)


def test_labels_out_of_range(tmp_path, make, noise):
    small = make("svhn", tmp_path)
    savemat(small.folder / "test_32x32.mat", {"X": noise(0, 32, 32, 3, 2), "y": np.array([[0], [3]], dtype=np.uint8)})
    with pytest.raises(DataError, match="labels reach from 0 to 3, not from 1 to 10"):
        small.with_current_checksums().build().split("test")
