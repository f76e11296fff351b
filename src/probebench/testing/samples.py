"""Images, batches and features for checks, all from local random generators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from probebench.api import Backbone, Batch, Features, Level, Point, Tap, pool_for
from probebench.testing.checks.contract import Build, require

if TYPE_CHECKING:
    from collections.abc import Sequence

TOLERANCE = 1e-5
"""Largest difference between two fp32 computations of one feature row, relative to the norm of the row."""

SOURCE = "probebench.testing/train"


def noise_images(count: int, size: tuple[int, int], *, seed: int = 0) -> Tensor:
    """Returns random images, uint8 ``(count, 3, H, W)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def flat_images(size: tuple[int, int]) -> Tensor:
    """Returns a black and a white image, uint8 ``(2, 3, H, W)``."""
    return torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None].expand(2, 3, *size).clone()


@dataclass(frozen=True)
class BuiltBackbone:
    """A backbone on the CPU, with taps, levels and images for a check.

    Attributes:
        backbone: The backbone on the CPU, in fp32.
        size: Height and width of the images.
        taps: All taps of the backbone.
        levels: The first, the middle and the last of its default levels.
    """

    backbone: Backbone
    size: tuple[int, int]
    taps: tuple[Tap, ...]
    levels: tuple[Level, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """All taps at all these levels, with global average pooling."""
        return tuple(Point(tap.id, level.id, pool_for(tap, "gap")) for level in self.levels for tap in self.taps)

    def batch(self, count: int, *, seed: int = 0) -> Batch:
        """Returns random images, which are the first of a split."""
        return Batch(noise_images(count, self.size, seed=seed), torch.arange(count), SOURCE)

    def features(self, batch: Batch, points: Sequence[Point] | None = None, *, seed: int = 0) -> dict[Point, Tensor]:
        """Returns features as the core requests them, by default for all points."""
        with torch.inference_mode():
            return self.backbone.extract(batch, self.points if points is None else points, seed=seed)


def build_backbone(build: Build[Backbone]) -> BuiltBackbone:
    """Builds a backbone on the CPU, in fp32."""
    backbone = build()
    backbone.move_to("cpu", "fp32")
    taps, levels = tuple(backbone.taps(backbone.image_size)), tuple(backbone.levels())
    require(bool(taps), "the backbone has no tap", hint="return at least one Tap from taps()")
    require(bool(levels), "the backbone has no level", hint="return at least api.CLEAN from levels()")
    selected = sorted({0, len(levels) // 2, len(levels) - 1})
    return BuiltBackbone(backbone, backbone.image_size, taps, tuple(levels[number] for number in selected))


def select_rows(batch: Batch, rows: Tensor) -> Batch:
    """Returns some images of a batch, with their positions."""
    return Batch(batch.images[rows], batch.index[rows], batch.source)


def require_same_rows(got: Tensor, expected: Tensor, what: str, *, tolerance: float = TOLERANCE, hint: str) -> None:
    """Raises an error unless two matrices are equal, up to a tolerance relative to the norm of each row."""
    require(got.shape == expected.shape, f"{what}: shape {tuple(got.shape)}, not {tuple(expected.shape)}", hint=hint)
    got, expected = got.double(), expected.double()
    error = (got - expected).norm(dim=1)
    length = expected.norm(dim=1)
    wrong = ~(error <= tolerance * length)
    if wrong.any():
        row = int(wrong.nonzero()[0, 0])
        size = float(error[row] / length[row]) if length[row] else float("inf")
        require(holds=False, what=f"{what}: row {row} differs by {size:.1e} of its norm", hint=hint)


def clusters(
    per_class: int, *, classes: int = 3, dim: int = 32, seed: int = 0, spread: float = 0.1, skip: Sequence[int] = ()
) -> Features:
    """Returns Gaussian clusters around random centres. The classes of the rows alternate.

    Args:
        per_class: Number of rows of each class.
        classes: Number of classes.
        dim: Length of a vector.
        seed: Seed of the rows. The centres are the same for all seeds.
        spread: Standard deviation around a centre. The entries of the centres are standard normal.
        skip: Classes without rows.
    """
    centres = torch.randn(classes, dim, generator=torch.Generator().manual_seed(1_000_003))
    present = torch.tensor([label for label in range(classes) if label not in skip])
    labels = present.repeat(per_class)
    noise = torch.randn(len(labels), dim, generator=torch.Generator().manual_seed(seed))
    return Features(centres[labels] + spread * noise, labels, classes)


def concatenate(first: Features, second: Features) -> Features:
    """Returns the rows of both, as the core passes train and val to the last fit."""
    vectors = torch.cat([first.vectors, second.vectors])
    return Features(vectors, torch.cat([first.labels, second.labels]), first.classes)
