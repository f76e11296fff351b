"""`ridge`: ridge regression on one-hot classes; one decomposition serves every penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch.nn.functional import one_hot

from probebench.api import Features, Fitted, Probe, Trial
from probebench_probes.preprocessing.moments import CHUNK_ROWS, moments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Metric, Scalar
    from probebench_probes.options import RidgeOptions

BLOCK_BYTES = 32 << 20
"""Limit for the float64 copy of some rows or columns: the features are never copied as a whole."""


class Ridge(Probe):
    """Minimises ``|targets - scores|^2 + alpha * |weights|^2`` over the train images, with a free bias.

    Targets are 1 for the class of an image and 0 for the others. This equals scikit-learn's `Ridge`. The predictions
    are those of its `RidgeClassifier`, whose targets are 1 and -1. A class without train images is never predicted.

    The fit is deterministic and not iterative. Its cost is one pass for the Gram matrix, D x D, or N x N where there
    are fewer images than features, and the eigenvectors of that matrix.
    """

    def __init__(self, options: RidgeOptions) -> None:
        self._options = options

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Returns one trial for each alpha, in the order of the options."""
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
    """The train images and their decomposition.

    With centred features X and one-hot classes Y, and the eigenvectors V and eigenvalues s of X'X, the weights are
    ``V (s + alpha)^-1 V' X'Y``. With those of XX', where it is smaller, they are ``X' V (s + alpha)^-1 V' Y``. All
    of it is float64: a Gram matrix has the square of the features' condition number, and float32 would lose the
    differences between nearly dependent features. Eigenvalues that should be 0 are rounding errors of either sign, and
    negative ones are set to 0; alpha keeps the division finite.

    Args:
        train: Features to fit.
        inputs: Whether features are divided by their standard deviations.
    """

    def __init__(self, train: Features, inputs: Literal["standardized", "raw"]) -> None:
        self._vectors = train.vectors
        self._mean, deviation, least = moments(train.vectors)
        unit = deviation.clamp_min(least) if inputs == "standardized" else torch.ones_like(deviation)
        self._scale = torch.where(deviation > least, 1 / unit, 0.0)
        counts = train.labels.bincount(minlength=train.classes)
        self._in_train, self._shares = counts > 0, counts.double() / len(train.labels)
        self._fewer_images = len(train.labels) < len(self._mean)
        gram, products = self._images_gram(train) if self._fewer_images else self._features_gram(train)
        values, self._axes = torch.linalg.eigh(gram)
        self._values, self._products = values.clamp_min(0)[:, None], self._axes.T @ products

    def solve(self, alpha: float) -> FittedRidge:
        """Returns the least-squares solution with this penalty."""
        solution = self._axes @ (self._products / (self._values + alpha))
        if self._fewer_images:
            solution = torch.cat([block.T @ solution for block in self._columns()])
        weights = self._scale[:, None] * solution
        # Scores subtract the mean in float32; the bias corrects what this rounds off.
        centre = self._mean.float()
        bias = self._shares - (self._mean - centre.double()) @ weights
        return FittedRidge(weights.float(), bias.float(), centre, self._in_train)

    def _features_gram(self, train: Features) -> tuple[Tensor, Tensor]:
        """Returns X'X and X'Y. Because X is centred, Y need not be."""
        gram = self._mean.new_zeros(len(self._mean), len(self._mean))
        sums = self._mean.new_zeros(train.classes, len(self._mean))
        size = _block_size(len(self._mean))
        for rows, labels in zip(torch.split(self._vectors, size), torch.split(train.labels, size), strict=True):
            block = (rows.double() - self._mean) * self._scale
            gram.addmm_(block.T, block)
            sums.index_add_(0, labels, block)
        return gram, sums.T

    def _images_gram(self, train: Features) -> tuple[Tensor, Tensor]:
        """Returns XX' and the centred Y."""
        gram = self._mean.new_zeros(len(train.labels), len(train.labels))
        for block in self._columns():
            gram.addmm_(block, block.T)
        return gram, one_hot(train.labels, train.classes).double() - self._shares

    def _columns(self) -> Iterator[Tensor]:
        """Yields X, some features at a time."""
        size = _block_size(len(self._vectors))
        for start in range(0, len(self._mean), size):
            part = slice(start, start + size)
            yield (self._vectors[:, part].double() - self._mean[part]) * self._scale[part]


def _block_size(length: int) -> int:
    """Returns the number of rows or columns of this length whose float64 copy fits into `BLOCK_BYTES`."""
    return max(1, BLOCK_BYTES // (8 * length))


@dataclass(frozen=True, slots=True)
class FittedRidge(Fitted):
    """A linear map from features to scores.

    Attributes:
        weights: float32 ``(D, C)``.
        bias: float32 ``(C,)``.
        centre: float32 ``(D,)``, subtracted from features.
        in_train: bool ``(C,)``, the classes that have train images.
    """

    weights: Tensor
    bias: Tensor
    centre: Tensor
    in_train: Tensor

    def scores(self, vectors: Tensor) -> Tensor:
        """Returns estimates of the one-hot class: float32 ``(N, C)``."""
        parts = [(part.float() - self.centre) @ self.weights + self.bias for part in torch.split(vectors, CHUNK_ROWS)]
        return torch.where(self.in_train, torch.cat(parts), -torch.inf)
