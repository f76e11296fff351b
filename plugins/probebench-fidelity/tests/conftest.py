"""Shared by the tests of this package: sets of features, images as files, and weights of Inception."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from probebench.api import ImageSet, hash63
from probebench_fidelity import inception_weights
from probebench_fidelity.inception import _Network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's weights or writes to the user's store."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("PROBEBENCH_STORE", str(tmp_path / "store"))


@pytest.fixture
def features() -> Callable[[Tensor], ImageSet]:
    """Makes a set of features without images."""
    return lambda vectors: ImageSet([], vectors.float())


@pytest.fixture
def gaussian() -> Callable[..., np.ndarray]:
    """Makes points with exactly this mean and covariance, float64 ``(count, D)``."""

    def make(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int = 0) -> np.ndarray:
        points = np.random.default_rng(seed).standard_normal((count, len(mean)))
        points -= points.mean(0)
        whiten = np.linalg.inv(np.linalg.cholesky(np.cov(points, rowvar=False)))
        return points @ whiten.T @ np.linalg.cholesky(covariance).T + mean

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of PNG files: noise around a shade, each file a function of its number."""

    def make(name: str, count: int, shade: int, size: int = 12) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(count):
            generator = torch.Generator().manual_seed(hash63(name, number))
            noise = torch.randint(-60, 60, (size, size, 3), generator=generator) + shade + number % 7 * 3
            Image.fromarray(noise.clamp(0, 255).to(torch.uint8).numpy()).save(folder / f"{number:06d}.png")
        return folder

    return make


@pytest.fixture(scope="session")
def saved() -> bytes:
    """A file of random weights."""
    network = _Network()
    network.to_empty(device="cpu")
    inception_weights.initialise_(network, 7)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    return buffer.getvalue()


@pytest.fixture
def accepted(saved: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The same file, with the digest that is expected of torch-fidelity's."""
    monkeypatch.setattr(inception_weights, "SHA256", hashlib.sha256(saved).hexdigest())
    return saved
