"""Images, batches and features to check with; everything comes from local generators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from probebench.api import Backbone, Batch, Features, Level, Point, Tap, pool_for
from probebench.testing.checks.contract import Build, demand

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE = 1e-5
"""Largest difference, relative to the row's length, between two fp32 computations of one feature row."""

SOURCE = "probebench.testing/train"


def noise_images(count: int, size: tuple[int, int], *, seed: int = 0) -> Tensor:
    """Random images, uint8 ``(count, 3, H, W)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def flat_images(size: tuple[int, int]) -> Tensor:
    """A black and a white image, uint8 ``(2, 3, H, W)``."""
    return torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, *size).clone()


@dataclass(frozen=True)
class Setup:
    """A backbone that is ready to run, and what to run it on.

    Attributes:
        backbone: Placed on the CPU in fp32.
        size: Height and width of the images.
        taps: All its taps.
        levels: Its first, middle and last default level.
    """

    backbone: Backbone
    size: tuple[int, int]
    taps: tuple[Tap, ...]
    levels: tuple[Level, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """All taps at all these levels, averaged over positions."""
        return tuple(Point(tap.id, level.id, pool_for(tap, "gap")) for level in self.levels for tap in self.taps)

    def batch(self, count: int, *, seed: int = 0) -> Batch:
        """Random images at the first positions of a split."""
        return Batch(noise_images(count, self.size, seed=seed), torch.arange(count), SOURCE)

    def features(self, batch: Batch, points: Sequence[Point] | None = None, *, seed: int = 0) -> dict[Point, Tensor]:
        """Features as the core asks for them; all points unless some are named."""
        with torch.inference_mode():
            return self.backbone.extract(batch, self.points if points is None else points, seed=seed)


def setup(build: Build[Backbone]) -> Setup:
    """Builds a backbone and places it on the CPU in fp32."""
    backbone = build()
    backbone.move_to("cpu", "fp32")
    taps, levels = tuple(backbone.taps(backbone.image_size)), tuple(backbone.levels())
    demand(bool(taps), "there is no tap", hint="give at least one Tap in taps()")
    demand(bool(levels), "there is no level", hint="give at least api.CLEAN in levels()")
    chosen = sorted({0, len(levels) // 2, len(levels) - 1})
    return Setup(backbone, backbone.image_size, taps, tuple(levels[number] for number in chosen))


def take(batch: Batch, rows: Tensor) -> Batch:
    """Some images of a batch, with their positions."""
    return Batch(batch.images[rows], batch.index[rows], batch.source)


def same_rows(got: Tensor, expected: Tensor, what: str, *, tolerance: float = TOLERANCE, hint: str) -> None:
    """Demands that two matrices are equal, up to a tolerance relative to each row's length."""
    demand(got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, not {tuple(expected.shape)}", hint=hint)
    got, expected = got.double(), expected.double()
    error = (got - expected).norm(dim=1)
    length = expected.norm(dim=1)
    wrong = ~(error <= tolerance * length)
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        size = float(error[row] / length[row]) if length[row] else float("inf")
        demand(holds=False, what=f"{what}: row {row} differs by {size:.1e} of its length", hint=hint)


def clusters(
    per_class: int, *, classes: int = 3, dim: int = 32, seed: int = 0, spread: float = 0.1, skip: Sequence[int] = ()
) -> Features:
    """Gaussian clusters around random centres; rows go through the classes in turn.

    Args:
        per_class: Rows of each class.
        classes: Number of classes.
        dim: Length of a vector.
        seed: Seed of the rows. The centres are the same for all seeds.
        spread: Standard deviation around a centre, whose own entries are standard normal.
        skip: Classes without any row.
    """
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(1_000_003))
    present = torch.tensor([label for label in range(classes) if label not in skip])
    labels = present.repeat(per_class)
    noise = torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(seed))
    return Features(centres[labels] + spread * noise, labels, classes)


def joined(first: Features, second: Features) -> Features:
    """The rows of both, as the core hands train and val to the last fit."""
    vectors = torch.cat([first.vectors, second.vectors])
    return Features(vectors, torch.cat([first.labels, second.labels]), first.classes)
