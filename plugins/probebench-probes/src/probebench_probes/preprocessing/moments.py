"""Means and standard deviations of features, in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

CHUNK_ROWS = 8192
"""Rows that are converted to float64 at a time."""


def moments(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns means, standard deviations and the smallest meaningful deviation of each column, float64 ``(D,)``.

    A deviation below the last of the three is the rounding error of float32, not signal. The sums are taken chunk by
    chunk, because a float64 sum over all rows would copy them.
    """
    mean, variance = (torch.zeros(vectors.shape[1], dtype=torch.float64, device=vectors.device) for _ in range(2))
    for part in torch.split(vectors, CHUNK_ROWS):
        mean += part.double().sum(0) / len(vectors)
    for part in torch.split(vectors, CHUNK_ROWS):
        variance += (part.double() - mean).square().sum(0) / len(vectors)
    return mean, variance.sqrt(), torch.finfo(torch.float32).eps * mean.abs() + torch.finfo(torch.float32).tiny
