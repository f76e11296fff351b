"""Features as linear models are trained on them: standardised, and whitened along their principal axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from probebench_probes.preprocessing.moments import CHUNK_ROWS, moments

if TYPE_CHECKING:
    from torch import Tensor

AXES_BLOCK = 1024
"""Features that share principal axes. Wider features are whitened block by block, because the cost grows with the cube
of the width."""

MIN_VARIANCE = 1e-6
"""Added to the variance along an axis. Standardised features have variance 1 on average; below this it is rounding."""


@dataclass(frozen=True, slots=True)
class FeatureTransform:
    """A linear transform of features in which gradient descent on a linear head converges fast.

    Features of one network are strongly correlated. The loss is then a narrow valley, and after tens of epochs a head
    can be tens of points below its optimum, even if every feature is standardised. Along the principal axes of the
    standardised features, scaled to variance 1 (PCA whitening), the curvature is even. The trained head is transformed
    back to the standardised features, and `penalty` gives the squared norm that its weights have there. So the optimum
    is the same, and it is reached in fewer steps.

    Attributes:
        mean: float32 ``(D,)``, subtracted from the features.
        scale: float32 ``(D,)``, the factor applied after that.
        axes: One float32 matrix ``(d, d)`` for each block of features, multiplied from the right; empty for features
            that are not whitened.
        penalty: float32 ``(D,)``: the squared norm of the head is the sum of ``penalty * weight ** 2`` along the axes.
    """

    mean: Tensor
    scale: Tensor
    axes: tuple[Tensor, ...]
    penalty: Tensor

    @classmethod
    def raw(cls, vectors: Tensor) -> FeatureTransform:
        """Returns the identity."""
        one = torch.ones_like(vectors[0])
        return cls(torch.zeros_like(one), one, (), one)

    @classmethod
    def standardized(cls, vectors: Tensor) -> FeatureTransform:
        """Gives each feature mean 0 and deviation 1 over the rows of ``(N, D)``; a constant feature becomes 0."""
        mean, deviation, least = moments(vectors)
        return cls._whitened(vectors, mean, torch.where(deviation > least, 1 / deviation.clamp_min(least), 0.0))

    @classmethod
    def centred(cls, vectors: Tensor) -> FeatureTransform:
        """Gives each feature mean 0 and divides all by their common deviation; a constant feature becomes 0.

        `penalty` undoes the division: the norm of a head is that of its weights for the raw features. The bias absorbs
        the mean, so the optimum is that of raw features, and it is reached as fast as with standardised ones.
        """
        mean, deviation, least = moments(vectors)
        varies = deviation > least
        scale = 1 / deviation[varies].square().mean().sqrt() if bool(varies.any()) else torch.ones_like(mean[0])
        transform = cls._whitened(vectors, mean, torch.where(varies, scale, 0.0))
        return replace(transform, penalty=(transform.penalty.double() * scale**2).float())

    @classmethod
    def _whitened(cls, vectors: Tensor, mean: Tensor, scale: Tensor) -> FeatureTransform:
        """Adds the principal axes of ``(vectors - mean) * scale``."""
        axes, penalty = [], []
        for start in range(0, len(mean), AXES_BLOCK):
            block = slice(start, start + AXES_BLOCK)
            correlation = torch.zeros(len(mean[block]), len(mean[block]), dtype=torch.float64, device=vectors.device)
            for part in torch.split(vectors[:, block], CHUNK_ROWS):
                standard = (part.double() - mean[block]) * scale[block]
                correlation += standard.T @ standard / len(vectors)
            variances, directions = torch.linalg.eigh(correlation)
            inverse = 1 / (variances.clamp_min(0) + MIN_VARIANCE)
            axes.append((directions * inverse.sqrt()).float())
            penalty.append(inverse.float())
        return cls(mean.float(), scale.float(), tuple(axes), torch.cat(penalty))

    def scaled(self, vectors: Tensor) -> Tensor:
        """Returns the features before whitening, that is standardised, centred or raw: float32 ``(N, D)``."""
        return (vectors.float() - self.mean) * self.scale

    def whitened(self, vectors: Tensor) -> Tensor:
        """Returns the features along the axes, with a last column of ones for the bias: float32 ``(N, D + 1)``."""
        rows = pad(self.scaled(vectors), (0, 1), value=1.0)
        for block, axes in self._blocks():
            rows[:, block] = rows[:, block] @ axes
        return rows

    def scaled_weights(self, along_axes: Tensor) -> Tensor:
        """Returns the weights ``(D, K)`` for `scaled` that equal some weights for `whitened`."""
        weights = along_axes.clone()
        for block, axes in self._blocks():
            weights[block] = axes @ along_axes[block]
        return weights

    def _blocks(self) -> list[tuple[slice, Tensor]]:
        starts = range(0, len(self.mean), AXES_BLOCK)
        return [(slice(start, start + len(axes)), axes) for start, axes in zip(starts, self.axes, strict=False)]
