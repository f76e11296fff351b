"""k nearest neighbours: one search at the largest k serves every k."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, cast

import torch

from probebench.api import Features, Fitted, Probe, ProbebenchWarning, Trial
from probebench_probes.neighbours import Bank, Neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Metric, Scalar
    from probebench_probes.options import KnnOptions

_LEAST_EXPONENT = -690.0
"""exp of it is still a normal float64: a far neighbour's vote is small, but remains a vote at any temperature."""


class Knn(Probe):
    """Votes of the nearest train images.

    A class's score is the logarithm of its votes: a class without a vote has minus infinity and is no candidate, and
    softmax over the scores gives the shares of the vote. A temperature-weighted vote is
    ``exp((similarity - largest) / temperature)``: taking the largest off first changes no share, and keeps low
    temperatures finite. `Bank` tells what similarity means for either distance.
    """

    def __init__(self, options: KnnOptions) -> None:
        self._options = options

    def tune(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """One trial for each k, from the smallest. A k above the number of train images is clamped, with a warning."""
        del seed
        ks = clamped(self._options.ks, len(train.labels))
        neighbours = Bank(train.vectors, self._options.distance).search(val.vectors.float(), ks[-1])
        return [
            Trial({"k": k}, metric(scores, val.labels))
            for k, scores in zip(ks, vote(neighbours, train, ks, self._options), strict=True)
        ]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Keeps the train images; ``params`` holds ``k``."""
        del seed
        return FittedKnn(train, cast("int", params["k"]), self._options)


class FittedKnn(Fitted):
    """Train images to vote, and how many of them do."""

    logits = True

    def __init__(self, train: Features, k: int, options: KnnOptions) -> None:
        self._train, self._options = train, options
        self._ks = clamped((k,), len(train.labels))
        self._bank = Bank(train.vectors, options.distance)

    def scores(self, vectors: Tensor) -> Tensor:
        """Log votes: float32 ``(N, C)``."""
        neighbours = self._bank.search(vectors.float(), self._ks[-1])
        (scores,) = vote(neighbours, self._train, self._ks, self._options)
        return scores


def vote(neighbours: Neighbours, train: Features, ks: Sequence[int], options: KnnOptions) -> Iterator[Tensor]:
    """Log votes of the nearest k, for each k in turn; votes of a smaller k are not counted again.

    Args:
        neighbours: Of each query, at least as many as the largest k.
        train: Whose labels vote.
        ks: Ascending.
        options: How votes are weighted.

    Yields:
        float32 ``(Q, C)``, minus infinity for classes without a vote.
    """
    similarity, labels = neighbours.similarity, train.labels[neighbours.index]
    if options.vote == "uniform":
        weights = torch.ones_like(similarity)
    else:
        exponent = (similarity - similarity[:, :1]) / options.temperature
        weights = exponent.clamp_min_(_LEAST_EXPONENT).exp_()
    votes = torch.zeros((len(labels), train.classes), dtype=torch.float64, device=labels.device)
    for start, stop in zip([0, *ks], ks, strict=False):
        votes.scatter_add_(1, labels[:, start:stop], weights[:, start:stop])
        yield votes.log().float()


def clamped(ks: Sequence[int], images: int) -> list[int]:
    """Each k once, ascending, and none above the number of train images, with a warning where one was."""
    if beyond := sorted({k for k in ks if k > images}):
        values = ", ".join(map(str, beyond))
        message = f"knn: k = {values} with {images} training images is read as k = {images}"
        warnings.warn(ProbebenchWarning(message), stacklevel=3)
    return sorted({min(k, images) for k in ks})
