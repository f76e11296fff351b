"""Features as maps, the input of the networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from probebench_probes.preprocessing.moments import moments

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Features


def as_map(vectors: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Reshapes vectors ``(B, D)`` to maps ``(B, C, H, W)``.

    A plain vector becomes a map of one position. Tokens ``(N, C)`` become a column of positions, ``(B, C, N, 1)``.
    """
    if len(shape) == 2:
        return vectors.view(-1, *shape).mT[..., None]
    channels, *size = shape or vectors.shape[1:]
    return vectors.view(-1, channels, *(size or (1, 1)))


@dataclass(frozen=True, slots=True)
class MapTransform:
    """Reshapes features to maps, and standardises their channels where that is requested.

    Attributes:
        shape: Shape of one feature, as in `Features`.
        mean: float32 ``(C, 1, 1)``, subtracted from the maps.
        scale: float32 ``(C, 1, 1)``, the factor applied after that.
    """

    shape: tuple[int, ...]
    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, train: Features, inputs: Literal["standardized", "raw"]) -> MapTransform:
        """Returns the transform for train images, and their views where they have some.

        ``standardized`` gives each channel mean 0 and deviation 1 over images and positions together, so that the
        differences between positions are kept.
        """
        vectors = torch.cat(train.views) if train.views else train.vectors
        mean, deviation, least = (as_map(one[None], train.shape)[0] for one in moments(vectors))
        centre = mean.mean((1, 2), keepdim=True)
        spread = (deviation.square() + (mean - centre).square()).mean((1, 2), keepdim=True).sqrt()
        least = least.amax((1, 2), keepdim=True)
        if inputs == "raw":
            return cls(train.shape, torch.zeros_like(centre).float(), torch.ones_like(centre).float())
        scale = torch.where(spread > least, 1 / spread.clamp_min(least), 0.0)
        return cls(train.shape, centre.float(), scale.float())

    def __call__(self, vectors: Tensor, device: str) -> Tensor:
        """Returns the maps ``(B, C, H, W)`` of vectors ``(B, D)``, float32 on a device."""
        maps = as_map(vectors.to(device).float(), self.shape)
        return (maps - self.mean.to(device)) * self.scale.to(device)
