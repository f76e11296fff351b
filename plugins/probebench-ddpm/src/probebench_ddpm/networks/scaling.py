"""The range of values that a network gets images in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def input_range(scale: float = 1.0) -> tuple[float, float]:
    """Values of black and white as the network gets them."""
    return -scale, scale


def to_input(images: Tensor, scale: float = 1.0) -> Tensor:
    """uint8 images as the network is trained on them and read with them: float32 in `input_range`."""
    clean = images.float() / 127.5 - 1
    return clean if scale == 1 else clean * scale
