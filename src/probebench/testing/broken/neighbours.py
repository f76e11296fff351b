"""Probes that find neighbours and hand over something else. Each docstring says what a plugin author may have done."""
# ruff: noqa: ARG002 - a class says what is wrong with its method

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from probebench.api import Features, FittedNeighbours, Neighbours, Scalar
from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyProbe

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Three(FittedNeighbours):
    """Three Euclidean neighbours, a vote each."""

    k = 3

    def __init__(self, train: Features) -> None:
        self.train, self.labels = train, train.labels

    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        distances, index = torch.cdist(vectors.double(), self.train.vectors.double()).sort(dim=1, stable=True)
        return Neighbours(index[:, :count], -distances[:, :count])

    def vote(self, neighbours: Neighbours) -> Tensor:
        return self.votes(neighbours.index[:, : self.k])

    def votes(self, index: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(self.labels[index], self.train.classes).sum(1).float().log()


class _Probe(ToyProbe):
    fitted: type[_Three] = _Three

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> FittedNeighbours:
        return self.fitted(train)


class _AllVote(_Three):
    def vote(self, neighbours: Neighbours) -> Tensor:
        return self.votes(neighbours.index)


@breaks("neighbours_can_vote_again")
class EveryoneVotes(_Probe):
    """All neighbours that are handed in have a vote, and the core hands in more than k."""

    fitted = _AllVote


class _Far(_Three):
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        found = super().neighbours(vectors, count)
        return Neighbours(found.index, -found.similarity)


@breaks("neighbours_can_vote_again")
class DistancesAsSimilarities(_Probe):
    """Distances are handed over, which rise."""

    fitted = _Far


class _Floats(_Three):
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        found = super().neighbours(vectors, count)
        return Neighbours(found.index, found.similarity.float())


@breaks("neighbours_can_vote_again")
class SinglePrecision(_Probe):
    """Similarities are rounded, so that a vote counted later is another one."""

    fitted = _Floats


class _Labels(_Three):
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        found = super().neighbours(vectors, count)
        return Neighbours(self.labels[found.index], found.similarity)

    def vote(self, neighbours: Neighbours) -> Tensor:
        votes = torch.nn.functional.one_hot(neighbours.index[:, : self.k], self.train.classes)
        return votes.sum(1).float().log()


@breaks("neighbours_can_vote_again")
class ClassesForPositions(_Probe):
    """The classes of the neighbours are handed over in place of their positions."""

    fitted = _Labels


class _Coarse(_Three):
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        every = super().neighbours(vectors, len(self.labels))
        # Among many, a fast search looks at coarse distances.
        similarity = every.similarity if count <= self.k else every.similarity.round(decimals=1)
        return Neighbours(every.index[:, :count], similarity[:, :count])


@breaks("neighbours_can_vote_again")
class CoarserAmongMany(_Probe):
    """A search for many neighbours is another one than that for a few."""

    fitted = _Coarse
