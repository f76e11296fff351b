"""Nearest neighbours: the contract of probes that return them, and their vote."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api.contracts import Fitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

_LEAST_EXPONENT = -690.0
"""Its exp is still a normal float64, so that the vote of a distant neighbour is small, but not 0."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest train images of each image, the nearest first.

    Attributes:
        index: int64 ``(Q, k)``, positions in train. If similarities are equal, the lower position is first.
        similarity: float64 ``(Q, k)``, in descending order.
    """

    index: Tensor
    similarity: Tensor


class FittedNeighbours(Fitted):
    """A fitted probe whose scores are a vote of the nearest train images.

    The core stores the neighbours of val and test images, so that ``probebench score`` can compute other votes without
    features.

    Attributes:
        k: Number of neighbours that vote.
        labels: int64 ``(N,)``, classes of the train images; `Neighbours.index` holds positions in it.
    """

    k: int
    labels: Tensor

    @abstractmethod
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        """Returns the ``count`` nearest train images. A larger count adds neighbours, and changes none.

        Args:
            vectors: float32 ``(Q, D)``.
            count: From 1 to the number of train images.
        """

    @abstractmethod
    def vote(self, neighbours: Neighbours) -> Tensor:
        """Returns the scores from the votes of the nearest `k`; further neighbours are ignored.

        Args:
            neighbours: `k` or more neighbours of each image.

        Returns:
            Class scores, as `scores` returns them.
        """

    def scores(self, vectors: Tensor) -> Tensor:
        """Returns class scores: float32 ``(Q, C)``, the vote of the neighbours."""
        return self.vote(self.neighbours(vectors, self.k))


def neighbour_votes(
    neighbours: Neighbours, labels: Tensor, classes: int, ks: Sequence[int], *, temperature: float | None
) -> Iterator[Tensor]:
    """Yields the logarithms of the votes of the nearest k, for each k. The votes of a smaller k are reused.

    The weight of a vote is ``exp((similarity - largest) / temperature)``. Subtracting the largest similarity changes no
    share, and avoids overflow at low temperatures. A class without votes gets minus infinity, so it is no candidate.
    Softmax over the scores gives the shares of the votes.

    Args:
        neighbours: For each image at least as many neighbours as the largest k.
        labels: int64 ``(N,)``, classes of the train images.
        classes: Number of classes ``C``.
        ks: Numbers of neighbours, in ascending order.
        temperature: A lower temperature gives the nearest more weight; with None all weights are equal.

    Yields:
        float32 ``(Q, C)``.

    Source: Z. Wu, Y. Xiong, S. Yu, D. Lin, Unsupervised Feature Learning via Non-Parametric Instance Discrimination,
    CVPR (2018), section 3.4.
    """
    import torch

    similarity, voters = neighbours.similarity, labels[neighbours.index]
    if temperature is None:
        weights = torch.ones_like(similarity)
    else:
        exponent = (similarity - similarity[:, :1]) / temperature
        weights = exponent.clamp_min_(_LEAST_EXPONENT).exp_()
    votes = torch.zeros((len(voters), classes), dtype=torch.float64, device=voters.device)
    for start, stop in zip([0, *ks], ks, strict=False):
        votes.scatter_add_(1, voters[:, start:stop], weights[:, start:stop])
        yield votes.log().float()
