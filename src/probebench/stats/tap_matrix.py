"""The matrix of similarities between the points of two backbones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probebench.api import Point

CKNNA_K = 10
"""Number of neighbours of CKNNA, as in Huh et al. (2024) and later work."""


Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class BackbonePoints:
    """The points of one backbone, which are the rows or the columns of a matrix.

    Attributes:
        backbone: Title of the backbone.
        fingerprint: Fingerprint of weights, architecture and preprocessing.
        points: The points in the order of the matrix, shallow taps first.
    """

    backbone: str
    fingerprint: str
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """The title of the backbone, with the level if all points have the same level."""
        levels = {point.level for point in self.points}
        return f"{self.backbone} at {levels.pop()}" if len(levels) == 1 else self.backbone

    @property
    def labels(self) -> list[str]:
        """Names of the points: the tap, with the level if the points have several levels."""
        several = len({point.level for point in self.points}) > 1
        return [f"{point.tap}@{point.level}" if several else point.tap for point in self.points]


@dataclass(frozen=True)
class TapMatrix:
    """Similarities between the points of one backbone (rows) and the points of another (columns).

    Attributes:
        dataset: Title of the dataset.
        split: Split of the images.
        images: Number of images.
        a: The rows.
        b: The columns.
        minibatch: The requested minibatch size, or None.
        cka: Linear CKA with the unbiased HSIC; NaN if the features of a point are equal for all images.
        cknna: CKNNA with `CKNNA_K` neighbours; NaN in the same cases.
        forwarded: Number of images that went through a backbone; 0 if all features were stored.
        warnings: Warnings of the components.
    """

    dataset: str
    split: str
    images: int
    a: BackbonePoints
    b: BackbonePoints
    minibatch: int | None
    cka: Matrix
    cknna: Matrix
    forwarded: int
    warnings: tuple[str, ...]
