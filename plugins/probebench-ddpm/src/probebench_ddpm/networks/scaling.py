"""Scales images to the input range of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def input_range(scale: float = 1.0) -> tuple[float, float]:
    """Returns the network's input values for black and white."""
    return -scale, scale


def to_input(images: Tensor, scale: float = 1.0) -> Tensor:
    """Scales uint8 images to `input_range`, in float32; training and reading both call it."""
    clean = images.float() / 127.5 - 1
    return clean if scale == 1 else clean * scale
