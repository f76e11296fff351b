"""A probe: the nearest class mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import normalize, one_hot

from probebench.api import Features, Fitted, Metric, NoOptions, Probe, Scalar, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class FittedCentroid(Fitted):
    """Class means.

    Args:
        means: ``(C, D)``; NaN for a class without train images.
        unit: Whether vectors are scaled to length 1 first.
    """

    def __init__(self, means: Tensor, *, unit: bool) -> None:
        self._means, self._unit = means, unit

    def scores(self, vectors: Tensor) -> Tensor:
        """Returns minus the distance to each mean; a class without train images is never predicted."""
        vectors = normalize(vectors) if self._unit else vectors
        # cdist would be faster, but its matrix product loses small distances between large vectors.
        scores = torch.stack([-(vectors - mean).norm(dim=1) for mean in self._means], dim=1)
        return scores.masked_fill(self._means.isnan().any(1), -torch.inf)


class Centroid(Probe):
    """Nearest class mean; whether vectors are scaled to length 1 is chosen on val."""

    def __init__(self, options: NoOptions) -> None:
        del options

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        """Returns one trial without scaling and one with it."""
        trials = []
        for unit in (False, True):
            fitted = self.fit(train, {"unit": unit}, seed=seed)
            trials.append(Trial({"unit": unit}, metric(fitted.scores(val.vectors), val.labels)))
        return trials

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> FittedCentroid:
        """Computes the means; ``params`` holds ``unit``."""
        del seed  # nothing is random
        unit = bool(params["unit"])
        vectors = normalize(train.vectors) if unit else train.vectors
        member = one_hot(train.labels, train.classes).to(vectors.dtype)
        return FittedCentroid(member.T @ vectors / member.sum(0)[:, None], unit=unit)
