"""`logreg`: softmax regression at its optimum, for all values of C at once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, cast

import torch
from torch.nn.functional import pad

from probebench.api import Features, Fitted, Probe, ProbebenchWarning, Trial
from probebench_probes.linear_models.softmax_loss import SoftmaxLoss
from probebench_probes.optimization.lbfgs import MEMORY, Minima, minimise
from probebench_probes.preprocessing.moments import CHUNK_ROWS
from probebench_probes.preprocessing.whitening import FeatureTransform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Metric, Scalar
    from probebench_probes.options import LogregOptions

HISTORY_BYTES = 512 << 20
"""Limit for the L-BFGS state of the heads that are fitted together, unless one head alone exceeds it."""


class Logreg(Probe):
    """Minimises ``C * summed cross-entropy + |weights|^2 / 2``, with one weight vector and one free bias per class.

    This equals scikit-learn's `LogisticRegression` on the same features. For two classes, scikit-learn fits one vector
    and this probe two, so that scikit-learn's C is twice the C here. A class without train images is never predicted.

    The fit is deterministic; the seed is not used.
    """

    def __init__(self, options: LogregOptions) -> None:
        self._options = options

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Returns one trial for each C, in the order of the options."""
        del seed
        fitted = self._fit(train, self._options.cs)
        return [
            Trial({"c": c}, metric(scores, val.labels))
            for c, scores in zip(self._options.cs, fitted.all_scores(val.vectors), strict=True)
        ]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Fits one head; ``params`` holds ``c``."""
        del seed
        return self._fit(train, (cast("float", params["c"]),))

    def _fit(self, train: Features, cs: Sequence[float]) -> FittedLogreg:
        """Fits one head for each C. A ProbebenchWarning names those that did not converge."""
        vectors, device = train.vectors.float(), train.vectors.device
        standardized = self._options.inputs == "standardized"
        transform = (FeatureTransform.standardized if standardized else FeatureTransform.centred)(vectors)
        rows = transform.whitened(vectors)
        in_train, labels = torch.unique(train.labels, return_inverse=True)
        squares = pad(transform.penalty.double(), (0, 1)) / len(rows)
        size = len(in_train) * rows.shape[1]
        most = max(1, HISTORY_BYTES // (8 * size * (2 * MEMORY + 10)))
        points, unconverged = [], []
        for start in range(0, len(cs), most):
            some = cs[start : start + most]
            penalties = squares / torch.tensor(some, dtype=torch.float64, device=device)[:, None]
            loss = SoftmaxLoss(rows, labels, len(in_train), penalties)
            minima = minimise(loss, squares.new_zeros(len(some), size), steps=self._options.steps)
            points.append(minima.points.view(len(some), len(in_train), -1))
            unconverged += _unconverged(some, minima)
        if unconverged:
            message = (
                f"logreg did not converge within {self._options.steps} steps, or within the precision of float32, for "
                + ", ".join(unconverged)
            )
            warnings.warn(ProbebenchWarning(message), stacklevel=3)
        return FittedLogreg(torch.cat(points).float().mT, transform, in_train, train.classes)


def _unconverged(cs: Sequence[float], minima: Minima) -> list[str]:
    """Names the values of C that did not converge, with the gradient norm of the mean loss."""
    ended = zip(cs, minima.gradient_norms.tolist(), minima.converged.tolist(), strict=True)
    return [f"C = {c:g} (gradient norm {norm:.1e})" for c, norm, converged in ended if not converged]


class FittedLogreg(Fitted):
    """Fitted heads, and the classes that have train images.

    Args:
        heads: float32 ``(H, D + 1, C')``, along the axes of the transform; the last row is the bias.
        transform: Transform of the features that the heads were fitted on.
        in_train: int64 ``(C',)``, the classes that have train images.
        classes: Number of classes, C.
    """

    logits = True

    def __init__(self, heads: Tensor, transform: FeatureTransform, in_train: Tensor, classes: int) -> None:
        self._heads = [(transform.scaled_weights(head[:-1]), head[-1]) for head in heads]
        self._transform, self._in_train, self._classes = transform, in_train, classes

    def scores(self, vectors: Tensor) -> Tensor:
        """Returns the logits of the first head: float32 ``(N, C)``."""
        return next(self.all_scores(vectors))

    def all_scores(self, vectors: Tensor) -> Iterator[Tensor]:
        """Yields the logits of each head: float32 ``(N, C)``."""
        for weights, bias in self._heads:
            scores = torch.full((len(vectors), self._classes), -torch.inf, device=vectors.device)
            parts = [self._transform.scaled(part) @ weights + bias for part in torch.split(vectors, CHUNK_ROWS)]
            scores[:, self._in_train] = torch.cat(parts)
            yield scores
