"""Nearest neighbours, as a probe hands them over to be kept, and their vote."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api.contracts import Fitted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

_LEAST_EXPONENT = -690.0
"""exp of it is still a normal float64: a far neighbour's vote is small, but remains a vote at any temperature."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest train images of some images, the nearest first.

    Attributes:
        index: int64 ``(Q, k)``, their positions; of equally near ones the lower position comes first.
        similarity: float64 ``(Q, k)``, never rising.
    """

    index: Tensor
    similarity: Tensor


class FittedNeighbours(Fitted):
    """A probe after fitting whose scores are a vote of the nearest train images.

    The core keeps the neighbours of the images that it measures on, so that any other vote of them can be counted
    later without features (``probebench score``).

    Attributes:
        k: How many neighbours vote.
        labels: int64 ``(N,)``, classes of the images that neighbours are found among: `Neighbours.index` counts them.
    """

    k: int
    labels: Tensor

    @abstractmethod
    def neighbours(self, vectors: Tensor, count: int) -> Neighbours:
        """The ``count`` nearest train images; the nearest ones are the same whatever the count.

        Args:
            vectors: float32 ``(Q, D)``.
            count: From 1 to the number of train images.
        """

    @abstractmethod
    def vote(self, neighbours: Neighbours) -> Tensor:
        """The scores that the nearest `k` give; others that are there have no vote.

        Args:
            neighbours: `k` or more of each image.

        Returns:
            As `scores`.
        """

    def scores(self, vectors: Tensor) -> Tensor:
        """Class scores: float32 ``(Q, C)``, the vote of the neighbours."""
        return self.vote(self.neighbours(vectors, self.k))


def neighbour_votes(
    neighbours: Neighbours, labels: Tensor, classes: int, ks: Sequence[int], *, temperature: float | None
) -> Iterator[Tensor]:
    """Logarithms of the votes of the nearest k, for each k in turn; votes of a smaller k are not counted again.

    A vote is ``exp((similarity - largest) / temperature)``: taking the largest off first changes no share, and keeps
    low temperatures finite. A class without a vote has minus infinity and is no candidate, and softmax over the scores
    gives the shares of the vote.

    Args:
        neighbours: Of each image, at least as many as the largest k.
        labels: int64 ``(N,)``, classes of the images that the neighbours are.
        classes: Number of classes ``C``.
        ks: Ascending.
        temperature: The lower, the more the nearest count; None for one vote each.

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
