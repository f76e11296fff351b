"""`linear`: one fully connected layer on frozen features, trained by gradient descent."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, cast

import torch

from probebench.api import Features, Fitted, Probe, Trial
from probebench_probes.linear_models.head_training import Heads, Recipe, train_heads
from probebench_probes.optimization.divergence import divergence_error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import Metric, Scalar
    from probebench_probes.options import LinearOptions


class Linear(Probe):
    """Softmax regression, with learning rate and weight decay chosen on val.

    A class without train images is never predicted, because its logit was not trained as a target.
    """

    def __init__(self, options: LinearOptions) -> None:
        self._options = options
        self._recipe = Recipe(
            epochs=options.epochs,
            batch_size=options.batch_size,
            inputs=options.inputs,
            schedule=options.schedule,
            optimizer=options.optimizer,
            momentum=options.momentum,
        )

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Returns one trial for each learning rate and weight decay, all trained together."""
        return self.search_many([(train, val)], metric=metric, seed=seed)[0]

    def search_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> Sequence[Sequence[Trial]]:
        """Returns the trials of `search` for each point; points of equal shape are trained together too."""
        grid = list(product(self._options.learning_rates, self._options.weight_decays))
        fitted = self._train([train for train, _ in points], grid, seed=seed)
        return [
            [
                Trial({"learning_rate": rate, "weight_decay": decay}, metric(scores, val.labels))
                for (rate, decay), scores in zip(grid, heads.all_scores(val.vectors), strict=True)
            ]
            for (_, val), heads in zip(points, fitted, strict=True)
        ]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Trains one head; ``params`` holds ``learning_rate`` and ``weight_decay``.

        Raises:
            TrainingError: The training diverges.
        """
        setting = cast("float", params["learning_rate"]), cast("float", params["weight_decay"])
        fitted = self._train([train], [setting], seed=seed)[0]
        if not fitted.finite:
            raise divergence_error("linear", setting[0])
        return fitted

    def _train(
        self, points: Sequence[Features], grid: Sequence[tuple[float, float]], *, seed: int
    ) -> list[FittedLinear]:
        rates, decays = zip(*grid, strict=True)
        trained = train_heads(points, self._recipe, learning_rates=rates, weight_decays=decays, seed=seed)
        return [
            FittedLinear(heads, point.labels.bincount(minlength=point.classes) > 0)
            for point, heads in zip(points, trained, strict=True)
        ]


class FittedLinear(Fitted):
    """Trained heads, and the classes that have train images, bool ``(C,)``.

    Attributes:
        finite: Whether all weights are finite. The scores of a head that diverged are 0 where they would be NaN.
    """

    logits = True

    def __init__(self, heads: Heads, in_train: Tensor) -> None:
        self._heads, self._in_train = heads, in_train
        self.finite = bool(heads.weights.isfinite().all())

    def scores(self, vectors: Tensor) -> Tensor:
        """Returns the logits of the first head: float32 ``(N, C)``."""
        return self.all_scores(vectors)[0]

    def all_scores(self, vectors: Tensor) -> Tensor:
        """Returns the logits of every head: float32 ``(H, N, C)``."""
        return torch.where(self._in_train, self._heads.scores(vectors).nan_to_num_(), -torch.inf)
