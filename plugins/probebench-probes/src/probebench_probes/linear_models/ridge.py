"""Ridge regression on one-hot classes: one decomposition serves every penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch.nn.functional import one_hot

from probebench.api import Features, Fitted, Probe, Trial
from probebench_probes.preprocessing.moments import CHUNK, moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Metric, Scalar
    from probebench_probes.options import RidgeOptions

BLOCK_BYTES = 32 << 20
"""Bound of a float64 copy of some rows or columns: there is never one of all features."""


class Ridge(Probe):
    """Minimises ``|targets - scores|^2 + alpha * |weights|^2`` over the train images, with a free bias.

    Targets are 1 for an image's class and 0 for the others. That is scikit-learn's `Ridge`; its `RidgeClassifier`
    predicts the same, as its targets are 1 and -1. A class without a train image is no candidate.

    Nothing is random here, and nothing is iterated: the price is one pass for the Gram matrix, D x D, or N x N where
    there are fewer images than features, and its eigenvectors.
    """

    def __init__(self, options: RidgeOptions) -> None:
        self._options = options

    def tune(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """One trial for each alpha, in the order of the options."""
        del seed
        solver = Solver(train, self._options.inputs)
        return [
            Trial({"alpha": alpha}, metric(solver.solve(alpha).scores(val.vectors), val.labels))
            for alpha in self._options.alphas
        ]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Fits one penalty; ``params`` holds ``alpha``."""
        del seed
        return Solver(train, self._options.inputs).solve(cast("float", params["alpha"]))


class Solver:
    """The train images, decomposed once.

    With centred features X and one-hot classes Y, and the eigenvectors V and eigenvalues s of X'X, the weights are
    ``V (s + alpha)^-1 V' X'Y``. With those of XX', where it is smaller, they are ``X' V (s + alpha)^-1 V' Y``. All
    of it is float64: a Gram matrix has the square of the features' condition number, and float32 would lose what
    nearly dependent features differ in. Eigenvalues that should be 0 come out as rounding of either sign, and are 0
    here; alpha keeps the division finite.

    Args:
        train: What to fit on.
        inputs: Whether features are divided by their deviations.
    """

    def __init__(self, train: Features, inputs: Literal["standardized", "raw"]) -> None:
        self._vectors = train.vectors
        self._mean, deviation, least = moments(train.vectors)
        unit = deviation.clamp_min(least) if inputs == "standardized" else torch.ones_like(deviation)
        self._scale = torch.where(deviation > least, 1 / unit, 0.0)
        counts = train.labels.bincount(minlength=train.classes)
        self._seen, self._shares = counts > 0, counts.double() / len(train.labels)
        self._few = len(train.labels) < len(self._mean)
        gram, products = self._images_gram(train) if self._few else self._features_gram(train)
        values, self._axes = torch.linalg.eigh(gram)
        self._values, self._products = values.clamp_min(0)[:, None], self._axes.T @ products

    def solve(self, alpha: float) -> FittedRidge:
        """The scores of least squared error with this penalty."""
        solution = self._axes @ (self._products / (self._values + alpha))
        if self._few:
            solution = torch.cat([block.T @ solution for block in self._columns()])
        weights = self._scale[:, None] * solution
        # Scores subtract the mean in float32: what it loses by that goes into the bias.
        centre = self._mean.float()
        bias = self._shares - (self._mean - centre.double()) @ weights
        return FittedRidge(weights.float(), bias.float(), centre, self._seen)

    def _features_gram(self, train: Features) -> tuple[Tensor, Tensor]:
        """X'X and X'Y. As X is centred, it does not matter that Y is not."""
        gram = self._mean.new_zeros(len(self._mean), len(self._mean))
        sums = self._mean.new_zeros(train.classes, len(self._mean))
        size = _at_once(len(self._mean))
        for rows, labels in zip(torch.split(self._vectors, size), torch.split(train.labels, size), strict=True):
            block = (rows.double() - self._mean) * self._scale
            gram.addmm_(block.T, block)
            sums.index_add_(0, labels, block)
        return gram, sums.T

    def _images_gram(self, train: Features) -> tuple[Tensor, Tensor]:
        """XX' and Y, centred."""
        gram = self._mean.new_zeros(len(train.labels), len(train.labels))
        for block in self._columns():
            gram.addmm_(block, block.T)
        return gram, one_hot(train.labels, train.classes).double() - self._shares

    def _columns(self) -> Iterator[Tensor]:
        """X, some features at a time."""
        size = _at_once(len(self._vectors))
        for start in range(0, len(self._mean), size):
            part = slice(start, start + size)
            yield (self._vectors[:, part].double() - self._mean[part]) * self._scale[part]


def _at_once(length: int) -> int:
    """Rows or columns of this length whose float64 copy keeps within `BLOCK_BYTES`."""
    return max(1, BLOCK_BYTES // (8 * length))


@dataclass(frozen=True, slots=True)
class FittedRidge(Fitted):
    """A linear map.

    Attributes:
        weights: float32 ``(D, C)``.
        bias: float32 ``(C,)``.
        centre: float32 ``(D,)``, subtracted from features.
        seen: bool ``(C,)``, the classes that have train images.
    """

    weights: Tensor
    bias: Tensor
    centre: Tensor
    seen: Tensor

    def scores(self, vectors: Tensor) -> Tensor:
        """Estimates of the one-hot class: float32 ``(N, C)``."""
        parts = [(part.float() - self.centre) @ self.weights + self.bias for part in torch.split(vectors, CHUNK)]
        return torch.where(self.seen, torch.cat(parts), -torch.inf)
