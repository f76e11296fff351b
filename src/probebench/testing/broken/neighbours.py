"""Probes that return wrong neighbours. Each docstring describes a mistake of a plugin author."""
# ruff: noqa: ARG002 - the methods ignore arguments on purpose

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
    """Three Euclidean neighbours with equal votes."""

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
class AllVote(_Probe):
    """Counts the votes of all passed neighbours, which may be more than k."""

    fitted = _AllVote


class _Far(_Three):
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        found = super().neighbours(vectors, count)
        return Neighbours(found.index, -found.similarity)


@breaks("neighbours_can_vote_again")
class DistancesAsSimilarities(_Probe):
    """Returns distances, which rise, in place of similarities."""

    fitted = _Far


class _Floats(_Three):
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        found = super().neighbours(vectors, count)
        return Neighbours(found.index, found.similarity.float())


@breaks("neighbours_can_vote_again")
class SinglePrecision(_Probe):
    """Rounds similarities, so that a later vote differs."""

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
    """Returns the classes of the neighbours in place of their positions."""

    fitted = _Labels


class _Coarse(_Three):
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        every = super().neighbours(vectors, len(self.labels))
        # A fast search for many neighbours uses rounded distances.
        similarity = every.similarity if count <= self.k else every.similarity.round(decimals=1)
        return Neighbours(every.index[:, :count], similarity[:, :count])


@breaks("neighbours_can_vote_again")
class ApproximateForMany(_Probe):
    """Searches for many neighbours with less precision than for a few."""

    fitted = _Coarse
