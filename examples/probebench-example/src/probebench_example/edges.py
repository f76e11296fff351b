"""A backbone: the strength of edges in each direction."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import conv2d, pad

from probebench.api import Backbone, Batch, Point, Precision, Tap, pool_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench_example import EdgeDirectionsOptions

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8


class EdgeDirections(Backbone):
    """Sobel filters, rotated to evenly spaced directions and applied to the grey image."""

    input_range = (0.0, 1.0)
    batch_size = 256

    def __init__(self, options: EdgeDirectionsOptions) -> None:
        angles = torch.arange(options.directions) * (math.pi / options.directions)
        across, down = angles.cos()[:, None, None] * SOBEL, angles.sin()[:, None, None] * SOBEL.T
        self._filters = (across + down)[:, None]
        self.parameters = self._filters.numel()

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """Returns the image itself and the map of edges."""
        height, width = image_size
        return (
            Tap("colour", "spatial", (3, height, width), cost=0.01),
            Tap("edges", "spatial", (len(self._filters), height, width), cost=1.0),
        )

    def move_to(self, device: str, precision: Precision) -> None:
        """Moves the filters to a device."""
        del precision  # a filter this small gains nothing from bf16
        self._filters = self._filters.to(device)

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to 0..1."""
        return images.float() / 255

    @torch.no_grad()
    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """Computes the edges only if a point needs them."""
        del seed  # nothing is random
        images = self.prepare(batch.images.to(self._filters.device))
        maps = {"colour": images}
        if any(point.tap == "edges" for point in points):
            grey = pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
            maps["edges"] = conv2d(grey, self._filters).abs()
        return {point: pool_map(maps[point.tap], "spatial", point.pool) for point in points}

    def fingerprint(self) -> str:
        """Returns a hash of the filters.

        The options and the version of the spec are part of every key already.
        """
        return hashlib.sha256(repr(self._filters.tolist()).encode()).hexdigest()
