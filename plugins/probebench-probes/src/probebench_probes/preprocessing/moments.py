"""Means and deviations of features, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 8192
"""Images at a time where all of them are gone through in float64."""


def moments(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means and deviations of the columns, and below what a deviation is the rounding of float32 and no signal.

    All are float64 ``(D,)``. They are taken part by part: a sum in float64 over all rows would copy them.
    """
    mean, variance = (torch.zeros(vectors.shape[1], dtype=torch.float64, device=vectors.device) for _ in range(2))
    for part in torch.split(vectors, CHUNK):
        mean += part.double().sum(0) / len(vectors)
    for part in torch.split(vectors, CHUNK):
        variance += (part.double() - mean).square().sum(0) / len(vectors)
    return mean, variance.sqrt(), torch.finfo(torch.float32).eps * mean.abs() + torch.finfo(torch.float32).tiny
