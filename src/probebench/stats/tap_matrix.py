"""Similarities of the points of two backbones, as a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probebench.api import Point

NEIGHBOURS = 10
"""k of CKNNA, as in Huh et al. 2024 and in what followed."""


Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Side:
    """What was read of a backbone.

    Attributes:
        backbone: Its title.
        fingerprint: Over weights, architecture and preprocessing.
        points: In the order of the matrix, shallow taps first.
    """

    backbone: str
    fingerprint: str
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """The backbone, with its level where it is read at one."""
        levels = {point.level for point in self.points}
        return f"{self.backbone} at {levels.pop()}" if len(levels) == 1 else self.backbone

    @property
    def labels(self) -> list[str]:
        """Names of the points: the tap, with its level where there are several."""
        several = len({point.level for point in self.points}) > 1
        return [f"{point.tap}@{point.level}" if several else point.tap for point in self.points]


@dataclass(frozen=True)
class TapMatrix:
    """Similarities of the points of one backbone (rows) with those of another (columns).

    Attributes:
        dataset: Its title.
        split: Whose images were read.
        images: How many.
        a: The rows.
        b: The columns.
        minibatch: As asked for.
        cka: Linear CKA with the unbiased HSIC; NaN where a point is the same for all images.
        cknna: CKNNA with `NEIGHBOURS`; NaN as above.
        forwarded: Images that went through a backbone; 0 when all was stored.
        warnings: What the components had to say.
    """

    dataset: str
    split: str
    images: int
    a: Side
    b: Side
    minibatch: int | None
    cka: Matrix
    cknna: Matrix
    forwarded: int
    warnings: tuple[str, ...]
