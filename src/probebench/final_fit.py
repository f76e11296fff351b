"""After the choice: the last fit, the scores of the test images, and the neighbours behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probebench.api import FittedNeighbours, PluginError
from probebench.kept_neighbours import KEPT, Kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api import Features, Fitted, Neighbours, Point, Probe, Trial
    from probebench.parts import Parts


@dataclass(frozen=True)
class Final:
    """What a probe says about the test images.

    Attributes:
        scores: float32 ``(N, C)``, on the CPU.
        logits: Whether softmax over them gives the probabilities that the probe states.
        dim: Length of the feature vectors.
        neighbours: Of the images of val and of test, where the scores are a vote of neighbours.
    """

    scores: Tensor
    logits: bool
    dim: int
    neighbours: Mapping[str, Kept] = field(default_factory=dict)


def at_point(probe: Probe, parts: Parts, chosen: tuple[Point, Trial], *, seed: int) -> Final:
    """Fits the chosen setting at the chosen point on train and val together, and scores test.

    Args:
        probe: Built and placed.
        parts: The images.
        chosen: Point and setting.
        seed: Of everything random in the fit.

    Raises:
        PluginError: The probe gives scores or neighbours of another shape.
    """
    point, best = chosen
    everything, test = parts.for_last_fit(point), parts.rows["test"]
    dim = everything.vectors.shape[1]
    fitted = probe.fit(everything, best.params, seed=seed)
    del everything
    vectors = test.features[point].read()
    if not isinstance(fitted, FittedNeighbours):
        return Final(_checked(fitted.scores(vectors), fitted, len(vectors), parts.classes), fitted.logits, dim)
    found = _neighbours(fitted, vectors)
    scores, logits = _checked(fitted.vote(found), fitted, len(vectors), parts.classes), fitted.logits
    of_test = Kept(found, fitted.labels, test.labels)
    del fitted, vectors  # not beside a second bank of images
    of_val = _neighbours_of_val(probe, parts.for_choice(point), best, seed)
    return Final(scores, logits, dim, {"val": of_val, "test": of_test})


def _checked(scores: Tensor, fitted: Fitted, images: int, classes: int) -> Tensor:
    scores = scores.detach().float().cpu()
    if tuple(scores.shape) != (images, classes):
        raise PluginError(
            f"scores of shape {tuple(scores.shape)}, not ({images}, {classes})", where=type(fitted).__name__
        )
    return scores


def _neighbours(fitted: FittedNeighbours, vectors: Tensor) -> Neighbours:
    """As many as are kept, and at least those that vote."""
    count = max(fitted.k, min(KEPT, len(fitted.labels)))
    found = fitted.neighbours(vectors, count)
    shapes = tuple(found.index.shape), tuple(found.similarity.shape)
    if shapes != ((len(vectors), count),) * 2:
        raise PluginError(
            f"neighbours of shapes {shapes[0]} and {shapes[1]}, not ({len(vectors)}, {count})",
            where=type(fitted).__name__,
        )
    return found


def _neighbours_of_val(probe: Probe, parts: tuple[Features, Features], best: Trial, seed: int) -> Kept:
    """What the chosen trial was measured with: `Probe.tune` gives its value alone."""
    train, val = parts
    fitted = probe.fit(train, best.params, seed=seed)
    if not isinstance(fitted, FittedNeighbours):
        raise PluginError("fit() finds neighbours in some calls, not in all", where=type(probe).__name__)
    return Kept(_neighbours(fitted, val.vectors), fitted.labels, val.labels)
