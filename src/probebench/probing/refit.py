"""After the choice: the last fit, the scores of the test images, and the neighbours behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from probebench.api import FittedNeighbours, PluginError, UsageError
from probebench.store.neighbours import MAX_NEIGHBOURS, StoredNeighbours

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import Features, FinetunedNetwork, Fitted, Neighbours, Point, Probe, Trial
    from probebench.probing.data import Parts


@dataclass(frozen=True)
class Final:
    """The scores of the test images.

    Attributes:
        scores: float32 ``(N, C)``, on the CPU.
        logits: Whether softmax over them gives the probabilities of the probe.
        dim: Length of the feature vectors.
        neighbours: Of the images of val and of test, where the scores are a vote of neighbours.
    """

    scores: Tensor
    logits: bool
    dim: int
    neighbours: Mapping[str, StoredNeighbours] = field(default_factory=dict)


def at_point(probe: Probe, parts: Parts, chosen: tuple[Point, Trial], *, seed: int) -> Final:
    """Fits the chosen setting at the chosen point on train and val together, and scores test.

    Args:
        probe: Built and moved to its device.
        parts: The images.
        chosen: Point and setting.
        seed: Of everything random in the fit.

    Raises:
        PluginError: The probe returns scores or neighbours of another shape.
    """
    point, best = chosen
    everything, test = parts.for_last_fit(point), parts.rows["test"]
    dim = everything.vectors.shape[1]
    fitted = probe.fit(everything, best.params, seed=seed)
    del everything
    vectors = test.features[point].read()
    if not isinstance(fitted, FittedNeighbours):
        return Final(checked_scores(fitted.scores(vectors), fitted, len(vectors), parts.classes), fitted.logits, dim)
    found = _neighbours(fitted, vectors)
    scores, logits = checked_scores(fitted.vote(found), fitted, len(vectors), parts.classes), fitted.logits
    of_test = StoredNeighbours(found, fitted.labels, test.labels)
    del fitted, vectors  # not beside a second bank of images
    of_val = _neighbours_of_val(probe, parts.for_choice(point), best, seed)
    return Final(scores, logits, dim, {"val": of_val, "test": of_test})


def soft_vote(probe: Probe, parts: Parts, voters: Sequence[tuple[Point, Trial]], *, seed: int) -> Final:
    """Fits a setting at each of several points on train and val together, and averages their probabilities on test.

    Args:
        probe: Built and moved to its device.
        parts: The images.
        voters: Points of equal width, each with its setting.
        seed: Of everything random in the fits.

    Returns:
        The logarithms of the mean probabilities as scores; -inf for a class that is a candidate at no point.

    Raises:
        UsageError: The probe gives no probabilities.
        PluginError: As `at_point`.

    Source: "Understanding Representation Dynamics" (NeurIPS 2025), appendix D, where five time steps vote.
    """
    labels = parts.rows["test"].labels
    mean = torch.zeros((len(labels), parts.classes), dtype=torch.float64)
    candidate = torch.zeros(mean.shape, dtype=torch.bool)
    dim = 0
    for point, trial in voters:
        everything = parts.for_last_fit(point)
        dim = everything.vectors.shape[1]
        fitted = probe.fit(everything, trial.params, seed=seed)
        del everything
        if not fitted.logits:
            raise UsageError(
                f"{type(fitted).__name__} gives no probabilities that could be averaged",
                where="--soft-vote",
                hint="leave out --soft-vote, or use a probe whose records have the metric ece15",
            )
        vectors = parts.rows["test"].features[point].read()
        scores = checked_scores(fitted.scores(vectors), fitted, len(labels), parts.classes)
        mean += scores.double().softmax(1) / len(voters)
        candidate |= scores > -torch.inf
    # The probability of a candidate may be 0 in fp64, and its score must still be finite.
    least = torch.finfo(torch.float64).tiny
    return Final(mean.clamp_min(least).log().float().where(candidate, -torch.inf), logits=True, dim=dim)


def checked_scores(scores: Tensor, fitted: Fitted | FinetunedNetwork, images: int, classes: int) -> Tensor:
    """Returns scores on the CPU, after a check of their shape.

    Raises:
        PluginError: They are of another shape than ``(images, classes)``.
    """
    scores = scores.detach().float().cpu()
    if tuple(scores.shape) != (images, classes):
        raise PluginError(
            f"scores of shape {tuple(scores.shape)}, not ({images}, {classes})", where=type(fitted).__name__
        )
    return scores


def _neighbours(fitted: FittedNeighbours, vectors: Tensor) -> Neighbours:
    """Finds as many neighbours as are stored, and at least those that vote."""
    count = max(fitted.k, min(MAX_NEIGHBOURS, len(fitted.labels)))
    found = fitted.neighbours(vectors, count)
    shapes = tuple(found.index.shape), tuple(found.similarity.shape)
    if shapes != ((len(vectors), count),) * 2:
        raise PluginError(
            f"neighbours of shapes {shapes[0]} and {shapes[1]}, not ({len(vectors)}, {count})",
            where=type(fitted).__name__,
        )
    return found


def _neighbours_of_val(probe: Probe, parts: tuple[Features, Features], best: Trial, seed: int) -> StoredNeighbours:
    """Finds the neighbours behind the chosen trial: `Probe.search` returns only its value."""
    train, val = parts
    fitted = probe.fit(train, best.params, seed=seed)
    if not isinstance(fitted, FittedNeighbours):
        raise PluginError("fit() finds neighbours in some calls, not in all", where=type(probe).__name__)
    return StoredNeighbours(_neighbours(fitted, val.vectors), fitted.labels, val.labels)
