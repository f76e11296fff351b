"""Checks of probes that return the neighbours of an image."""

from __future__ import annotations

import torch

from probebench.api import FittedNeighbours, Probe
from probebench.testing.checks.contract import Build, NotApplicableError, require
from probebench.testing.checks.probe import fit, probe_check, scores_of
from probebench.testing.samples import clusters


@probe_check
def neighbours_can_vote_again(build: Build[Probe]) -> None:
    """A larger number of neighbours contains the smaller one, and the vote of the neighbours gives the scores."""
    train, test = clusters(20, spread=1.5), clusters(4, seed=2, spread=1.5)
    fitted = fit(build(), train, clusters(5, seed=1, spread=1.5))
    if not isinstance(fitted, FittedNeighbours):
        raise NotApplicableError("fit() returns no FittedNeighbours")
    every = fitted.neighbours(test.vectors, len(fitted.labels))
    shape = (len(test.labels), len(fitted.labels))
    for name, array, dtype in (("index", every.index, torch.int64), ("similarity", every.similarity, torch.float64)):
        require(
            tuple(array.shape) == shape and array.dtype == dtype,
            f"{name} is {array.dtype} {tuple(array.shape)}, not {dtype} {shape}",
            hint="return `count` neighbours of every image",
        )
    once = every.index.sort(1).values.equal(torch.arange(shape[1]).expand(shape))
    require(once, "a train image is a neighbour twice, or never", hint="return positions in `labels`, each once")
    falling = bool((every.similarity.diff(dim=1) <= 0).all())
    require(falling, "similarities rise along a row", hint="return the nearest image first, and negate distances")
    few = fitted.neighbours(test.vectors, fitted.k)
    same = few.index.equal(every.index[:, : fitted.k]) and few.similarity.equal(every.similarity[:, : fitted.k])
    require(
        same, "the first of many neighbours differ from the result for a smaller count", hint="break ties by position"
    )
    expected = scores_of(fitted, test, "of vectors")
    for votes, what in ((fitted.vote(few), f"{fitted.k} neighbours"), (fitted.vote(every), f"{shape[1]} neighbours")):
        hint = "count only the nearest k in vote()"
        require(votes.equal(expected), f"the vote of {what} is not what scores() returns", hint=hint)
