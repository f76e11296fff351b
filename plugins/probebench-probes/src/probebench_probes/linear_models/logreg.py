"""Softmax regression at its optimum, for every C at once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, cast

import torch
from torch.nn.functional import pad

from probebench.api import Features, Fitted, Probe, ProbebenchWarning, Trial
from probebench_probes.linear_models.softmax_loss import SoftmaxLoss
from probebench_probes.optimization.lbfgs import MEMORY, Minima, minimise
from probebench_probes.preprocessing.moments import CHUNK
from probebench_probes.preprocessing.whitening import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Metric, Scalar
    from probebench_probes.options import LogregOptions

HISTORY_BYTES = 512 << 20
"""Bound of what L-BFGS keeps of the heads that it trains together, unless one head alone exceeds it."""


class Logreg(Probe):
    """Minimises ``C * summed cross-entropy + |weights|^2 / 2``, with a weight vector and a free bias for each class.

    That is scikit-learn's `LogisticRegression` on the same features, also for two classes, where that class fits one
    vector in place of two: its C is then twice ours. A class without a train image is no candidate.

    Nothing is random here.
    """

    def __init__(self, options: LogregOptions) -> None:
        self._options = options

    def tune(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """One trial for each C, in the order of the options."""
        del seed
        fitted = self._fitted(train, self._options.cs)
        return [
            Trial({"c": c}, metric(scores, val.labels))
            for c, scores in zip(self._options.cs, fitted.all_scores(val.vectors), strict=True)
        ]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Fits one head; ``params`` holds ``c``."""
        del seed
        return self._fitted(train, (cast("float", params["c"]),))

    def _fitted(self, train: Features, cs: Sequence[float]) -> FittedLogreg:
        """Heads for all C. A ProbebenchWarning names those that are not at their optimum."""
        vectors, device = train.vectors.float(), train.vectors.device
        inputs = (Inputs.standardized if self._options.inputs == "standardized" else Inputs.centred)(vectors)
        rows = inputs.prepare(vectors)
        seen, labels = torch.unique(train.labels, return_inverse=True)
        squares = pad(inputs.penalty.double(), (0, 1)) / len(rows)
        size = len(seen) * rows.shape[1]
        at_once = max(1, HISTORY_BYTES // (8 * size * (2 * MEMORY + 10)))
        points, late = [], []
        for start in range(0, len(cs), at_once):
            some = cs[start : start + at_once]
            penalties = squares / torch.tensor(some, dtype=torch.float64, device=device)[:, None]
            loss = SoftmaxLoss(rows, labels, len(seen), penalties)
            minima = minimise(loss, squares.new_zeros(len(some), size), steps=self._options.steps)
            points.append(minima.points.view(len(some), len(seen), -1))
            late += _late(some, minima)
        if late:
            message = f"logreg: {self._options.steps} steps or float32 do not reach the optimum for " + ", ".join(late)
            warnings.warn(ProbebenchWarning(message), stacklevel=3)
        return FittedLogreg(torch.cat(points).float().mT, inputs, seen, train.classes)


def _late(cs: Sequence[float], minima: Minima) -> list[str]:
    """Those that are not at their optimum, with the gradient of the mean loss."""
    ended = zip(cs, minima.slopes.tolist(), minima.solved.tolist(), strict=True)
    return [f"C = {c:g} (gradient norm {slope:.1e})" for c, slope, solved in ended if not solved]


class FittedLogreg(Fitted):
    """Heads and the classes that they have seen.

    Args:
        heads: float32 ``(H, D + 1, C')``, along the axes of `inputs`; the last row is the bias.
        inputs: What the heads were trained on.
        seen: int64 ``(C',)``, the classes that have train images.
        classes: How many classes there are, C.
    """

    logits = True

    def __init__(self, heads: Tensor, inputs: Inputs, seen: Tensor, classes: int) -> None:
        self._heads = [(inputs.weights(head[:-1]), head[-1]) for head in heads]
        self._inputs, self._seen, self._classes = inputs, seen, classes

    def scores(self, vectors: Tensor) -> Tensor:
        """Logits of the first head: float32 ``(N, C)``."""
        return next(self.all_scores(vectors))

    def all_scores(self, vectors: Tensor) -> Iterator[Tensor]:
        """Logits of each head in turn: float32 ``(N, C)``."""
        for weights, bias in self._heads:
            scores = torch.full((len(vectors), self._classes), -torch.inf, device=vectors.device)
            parts = [self._inputs.features(part) @ weights + bias for part in torch.split(vectors, CHUNK)]
            scores[:, self._seen] = torch.cat(parts)
            yield scores
