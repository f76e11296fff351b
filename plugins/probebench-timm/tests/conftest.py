"""Shared by the tests of the `timm` backbone: building one, random images, and features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from probebench.api import Batch, Point
from probebench_timm.backbone import Timm
from probebench_timm.options import TimmOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips transformers in bf16 where ATEN_CPU_CAPABILITY hides AVX-512 of a processor with AMX.

    PyTorch's attention selects its code for AMX by the processor, and this code then fails in the kernels for AVX2.
    """
    amx = torch.cpu.get_capabilities().get("amx_bf16", False)
    if amx and torch.backends.cpu.get_cpu_capability() != "AVX512":
        reason = "PyTorch's attention fails in bf16 without AVX-512 on a processor with AMX"
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent) and "bf16" in item.name and "test_vit" in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))


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
