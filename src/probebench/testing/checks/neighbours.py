"""The laws of a probe that hands over the neighbours that it finds, so that others can vote again."""

from __future__ import annotations

import torch

from probebench.api import FittedNeighbours, Probe
from probebench.testing.checks.contract import Build, NotApplicableError, demand
from probebench.testing.checks.probe import fit, probe_check, scores_of
from probebench.testing.samples import clusters


@probe_check
def neighbours_can_vote_again(build: Build[Probe]) -> None:
    """Of neighbours that are handed over, the nearest are the same for any number, and their vote is the scores."""
    train, test = clusters(20, spread=1.5), clusters(4, seed=2, spread=1.5)
    fitted = fit(build(), train, clusters(5, seed=1, spread=1.5))
    if not isinstance(fitted, FittedNeighbours):
        raise NotApplicableError("fit() gives no FittedNeighbours")
    every = fitted.neighbours(test.vectors, len(fitted.labels))
    shape = (len(test.labels), len(fitted.labels))
    for name, found, dtype in (("index", every.index, torch.int64), ("similarity", every.similarity, torch.float64)):
        demand(
            tuple(found.shape) == shape and found.dtype == dtype,
            f"{name} is {found.dtype} {tuple(found.shape)}, not {dtype} {shape}",
            hint="give `count` neighbours of every image",
        )
    once = every.index.sort(1).values.equal(torch.arange(shape[1]).expand(shape))
    demand(once, "an image is its own neighbour twice, or never", hint="index holds positions in `labels`, each once")
    falling = bool((every.similarity.diff(dim=1) <= 0).all())
    demand(falling, "similarities rise along a row", hint="the nearest image comes first; negate distances")
    few = fitted.neighbours(test.vectors, fitted.k)
    same = few.index.equal(every.index[:, : fitted.k]) and few.similarity.equal(every.similarity[:, : fitted.k])
    demand(same, "fewer neighbours are others than the nearest of many", hint="break ties by position")
    expected = scores_of(fitted, test, "of vectors")
    for votes, what in ((fitted.vote(few), f"{fitted.k} neighbours"), (fitted.vote(every), f"{shape[1]} neighbours")):
        hint = "vote() counts the nearest k, however many it is handed"
        demand(votes.equal(expected), f"the vote of {what} is not what scores() gives", hint=hint)
