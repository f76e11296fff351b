"""`knn`: k nearest neighbours; one search at the largest k serves every k."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, cast

from probebench.api import FittedNeighbours, Probe, ProbebenchWarning, Trial, neighbour_votes
from probebench_probes.neighbours.search import Bank

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Features, Fitted, Metric, Neighbours, Scalar
    from probebench_probes.options import KnnOptions


class Knn(Probe):
    """Votes of the nearest train images.

    `Bank` defines the similarity for both distances, and `probebench.api.neighbour_votes` the vote.
    """

    def __init__(self, options: KnnOptions) -> None:
        self._options = options

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Returns one trial for each k, ascending. A k above the number of train images is clamped, with a warning."""
        del seed
        ks = clamped(self._options.ks, len(train.labels))
        neighbours = Bank(train.vectors, self._options.distance).search(val.vectors.float(), ks[-1])
        votes = _votes(neighbours, train.labels, train.classes, ks, self._options)
        return [Trial({"k": k}, metric(scores, val.labels)) for k, scores in zip(ks, votes, strict=True)]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Stores the train images; ``params`` holds ``k``."""
        del seed
        return FittedKnn(train, cast("int", params["k"]), self._options)


class FittedKnn(FittedNeighbours):
    """The train images, and the number k of those that vote."""

    logits = True

    def __init__(self, train: Features, k: int, options: KnnOptions) -> None:
        (self.k,) = clamped((k,), len(train.labels))
        self.labels, self._classes, self._options = train.labels, train.classes, options
        self._bank = Bank(train.vectors, options.distance)

    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        """Returns the nearest train images."""
        return self._bank.search(vectors.float(), count)

    def vote(self, neighbours: Neighbours) -> Tensor:
        """Returns the log votes: float32 ``(N, C)``."""
        (scores,) = _votes(neighbours, self.labels, self._classes, [self.k], self._options)
        return scores


def _votes(
    neighbours: Neighbours, labels: Tensor, classes: int, ks: Sequence[int], options: KnnOptions
) -> Iterator[Tensor]:
    temperature = options.temperature if options.vote == "temperature" else None
    return neighbour_votes(neighbours, labels, classes, ks, temperature=temperature)


def clamped(ks: Sequence[int], images: int) -> list[int]:
    """Returns each k once, ascending, clamped to the number of train images; warns where a k was above it."""
    if beyond := sorted({k for k in ks if k > images}):
        values = ", ".join(map(str, beyond))
        message = f"knn: k = {values} is clamped to k = {images}, the number of train images"
        warnings.warn(ProbebenchWarning(message), stacklevel=3)
    return sorted({min(k, images) for k in ks})
