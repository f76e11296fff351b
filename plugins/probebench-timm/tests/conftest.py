"""Shared by the tests of the `timm` backbone: building one, random images, and features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from probebench.api import Batch, Point
from probebench_timm.backbone import Timm
from probebench_timm.options import TimmOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@pytest.fixture
def backbone() -> Callable[..., Timm]:
    """Builds a backbone from options."""

    def build(model: str = "test_resnet", **options: Any) -> Timm:
        return Timm(TimmOptions(model=model, **options))

    return build


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Random images, uint8 ``(count, 3, H, W)``."""

    def make(count: int, height: int, width: int | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.randint(0, 256, (count, 3, height, width or height), dtype=torch.uint8, generator=generator)

    return make


@pytest.fixture
def features() -> Callable[..., dict[str, Tensor]]:
    """Extracts features by tap, all with one pool."""

    def extract(backbone: Timm, images: Tensor, taps: list[str], pool: str = "flat") -> dict[str, Tensor]:
        points = [Point(tap, "clean", pool) for tap in taps]
        found = backbone.extract(Batch(images, torch.arange(len(images)), "tests/train"), points, seed=0)
        return {point.tap: vectors for point, vectors in found.items()}

    return extract
