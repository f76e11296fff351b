"""Features as a linear head is trained on them: standardised, and turned to their principal axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from probebench_probes.preprocessing.moments import CHUNK, moments

if TYPE_CHECKING:
    from torch import Tensor


AXES_BLOCK = 1024
"""Features that share principal axes. More than these are turned block by block, as the price grows with the cube."""

RIDGE = 1e-6
"""Added to the variance along an axis, where standardised features have variance 1 on average: below it is rounding."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """A linear map of features in which gradient descent on a linear head converges fast.

    Features of one network are strongly correlated. Then the loss is a narrow valley, and after tens of epochs a head
    can be tens of points below its optimum, even if every feature is standardised. Along the principal axes of the
    standardised features, scaled to variance one, the curvature is even. The head remains what it was: it is mapped
    back to the standardised features, and `penalty` gives the squared length that its weights have there. So the
    optimum is the same, and only the way to it is shorter.

    Attributes:
        mean: float32 ``(D,)``, subtracted from the features.
        scale: float32 ``(D,)``, then multiplied with.
        axes: Of each block of features a matrix ``(d, d)``, float32, multiplied with from the right; none for raw
            inputs.
        penalty: float32 ``(D,)``: the head's squared length is the sum of ``penalty * weight ** 2`` along the axes.
    """

    mean: Tensor
    scale: Tensor
    axes: tuple[Tensor, ...]
    penalty: Tensor

    @classmethod
    def raw(cls, vectors: Tensor) -> Inputs:
        """Features as they are."""
        one = torch.ones_like(vectors[0])
        return cls(torch.zeros_like(one), one, (), one)

    @classmethod
    def standardized(cls, vectors: Tensor) -> Inputs:
        """Features with mean 0 and deviation 1 over the rows of ``(N, D)``; one that does not vary becomes 0."""
        mean, deviation, least = moments(vectors)
        return cls._turned(vectors, mean, torch.where(deviation > least, 1 / deviation.clamp_min(least), 0.0))

    @classmethod
    def centred(cls, vectors: Tensor) -> Inputs:
        """Features with mean 0, all divided by their common deviation; one that does not vary becomes 0.

        `penalty` makes up for the division: a head's length is that of its weights for the features as they are. As its
        bias takes in the mean, the optimum is that of raw features, and the way to it is as short as with standardised.
        """
        mean, deviation, least = moments(vectors)
        varies = deviation > least
        scale = 1 / deviation[varies].square().mean().sqrt() if bool(varies.any()) else torch.ones_like(mean[0])
        inputs = cls._turned(vectors, mean, torch.where(varies, scale, 0.0))
        return replace(inputs, penalty=(inputs.penalty.double() * scale**2).float())

    @classmethod
    def _turned(cls, vectors: Tensor, mean: Tensor, scale: Tensor) -> Inputs:
        """With the principal axes of ``(vectors - mean) * scale``."""
        axes, penalty = [], []
        for start in range(0, len(mean), AXES_BLOCK):
            block = slice(start, start + AXES_BLOCK)
            correlation = torch.zeros(len(mean[block]), len(mean[block]), dtype=torch.float64, device=vectors.device)
            for part in torch.split(vectors[:, block], CHUNK):
                standard = (part.double() - mean[block]) * scale[block]
                correlation += standard.T @ standard / len(vectors)
            variances, directions = torch.linalg.eigh(correlation)
            inverse = 1 / (variances.clamp_min(0) + RIDGE)
            axes.append((directions * inverse.sqrt()).float())
            penalty.append(inverse.float())
        return cls(mean.float(), scale.float(), tuple(axes), torch.cat(penalty))

    def features(self, vectors: Tensor) -> Tensor:
        """Standardised features, or raw ones: float32 ``(N, D)``."""
        return (vectors.float() - self.mean) * self.scale

    def prepare(self, vectors: Tensor) -> Tensor:
        """Inputs along the axes, with a last column of ones for the bias: float32 ``(N, D + 1)``."""
        prepared = pad(self.features(vectors), (0, 1), value=1.0)
        for block, axes in self._blocks():
            prepared[:, block] = prepared[:, block] @ axes
        return prepared

    def weights(self, along_axes: Tensor) -> Tensor:
        """Weights ``(D, K)`` for `features` from those along the axes."""
        weights = along_axes.clone()
        for block, axes in self._blocks():
            weights[block] = axes @ along_axes[block]
        return weights

    def _blocks(self) -> list[tuple[slice, Tensor]]:
        starts = range(0, len(self.mean), AXES_BLOCK)
        return [(slice(start, start + len(axes)), axes) for start, axes in zip(starts, self.axes, strict=False)]
