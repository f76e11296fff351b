"""The published datasets pass all conformance checks, on small files in the original formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import savemat

from probebench.testing import parametrize_with_checks
from probebench_datasets.downloads import checksums
from probebench_datasets.options import Flowers102Options
from probebench_datasets.published.flowers102 import Flowers102

if TYPE_CHECKING:
    from pathlib import Path

_STATE: dict[str, object] = {}


@pytest.fixture(scope="module", autouse=True)
def _small_files(tmp_path_factory, make, encoded):
    """Writes the files of each dataset once for all checks."""
    _STATE.update(root=tmp_path_factory.mktemp("published"), make=make)
    write_flowers(_STATE["root"] / "flowers-102", encoded)
    yield
    _STATE.clear()


def write_flowers(folder: Path, encoded) -> None:
    """Writes one train image for each class; the first three classes also have others."""
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 109):
        (folder / "jpg" / f"image_{number:05d}.jpg").write_bytes(encoded(number, "jpeg", size=(24, 20)))
    labels = np.array([[*range(1, 103), 1, 2, 3, 1, 2, 3]], np.uint8)
    savemat(folder / "imagelabels.mat", {"labels": labels})
    sets = {"trnid": range(1, 103), "valid": range(103, 106), "tstid": range(106, 109)}
    savemat(folder / "setid.mat", {key: np.array([numbers], np.uint16) for key, numbers in sets.items()})


def builder(which: str, **options):
    def build():
        if which not in _STATE:
            _STATE[which] = _STATE["make"](which, _STATE["root"] / which)
        return _STATE[which].build(**options)

    build.__name__ = "-".join([which, *(f"{name}={value}" for name, value in options.items())])
    return ("dataset", build)


def flowers() -> Flowers102:
    return Flowers102(Flowers102Options(root=str(_STATE["root"]), image_size=16))


@parametrize_with_checks(
    [
        builder("cifar10-python"),
        builder("cifar10-binary"),
        builder("cifar100-python"),
        builder("cifar100-binary"),
        builder("stl10"),
        builder("stl10", fold=3),
        builder("stl10", image_size=32),
        builder("fashion-mnist"),
        builder("fashion-mnist", image_size=32),
        builder("svhn"),
        builder("svhn-torchvision"),
    ]
)
def test_conformance(subject, check):
    check(subject)


@parametrize_with_checks([("dataset", flowers)])
def test_conformance_of_flowers(subject, check, monkeypatch):
    monkeypatch.setattr(checksums, "verify", lambda *_, **__: None)
    check(subject)
