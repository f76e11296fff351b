"""Exact nearest neighbours at the price of a fast search.

One fp32 matrix product finds a few more candidates than wanted. Their similarities are then computed anew in fp64, from
the vectors themselves, and ranked, equal ones by position. Where the product's rounding error leaves it open whether a
better neighbour was missed, as between many equal vectors, every vector within the error is ranked as well. So the
result depends neither on chunks, threads or device nor on the precision of the product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from torch import Tensor

Distance = Literal["cosine", "euclidean"]

SEARCH_BYTES = 64 << 20
"""Bound of one block of the similarity matrix."""

RANK_BYTES = 8 << 20
"""Bound of the fp64 vectors in hand while candidates are ranked: they should stay in the processor's cache."""

SLACK = 16
"""Candidates beyond the k wanted. Unless vectors are equal or nearly so, the gap between the last neighbour and the
first vector that is no candidate then exceeds the rounding error."""

GROUP = 16
"""Vectors whose products are looked through as one before they are ranked."""

_UNIT_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
"""Of a matrix product, by `torch.get_float32_matmul_precision`."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest vectors of each query, the nearest first.

    Attributes:
        index: int64 ``(Q, k)``, positions in the bank; of equally near vectors the lower position comes first.
        similarity: float64 ``(Q, k)``, never rising.
    """

    index: Tensor
    similarity: Tensor


class Bank:
    """Vectors to search among.

    Similarity is the cosine, or ``-d^2 / (2 s^2)`` for the Euclidean distance ``d``, where ``s`` is the spread of the
    bank: the root mean square distance of its vectors from their mean. So both are free of the features' scale, and on
    centred vectors of length one they differ by a constant.

    Args:
        vectors: float32 ``(N, D)``, at least one. Kept by reference, beside one copy prepared for the search.
        distance: ``cosine`` or ``euclidean``. The cosine of a zero vector with any other is 0.
    """

    def __init__(self, vectors: Tensor, distance: Distance) -> None:
        self._vectors = vectors.float()
        self._cosine = distance == "cosine"
        rows = max(1, SEARCH_BYTES // (8 * vectors.shape[1]))
        parts = [slice(start, start + rows) for start in range(0, len(vectors), rows)]
        self._centre = torch.stack([self._form(self._vectors[part]).sum(0) for part in parts]).sum(0) / len(vectors)
        self._spread = 1.0
        if not self._cosine:
            squares = sum(float((self._form(self._vectors[part]) - self._centre).square().sum()) for part in parts)
            self._spread = math.sqrt(squares / len(vectors)) or 1.0
        # The product is of centred vectors: features often have a large common part, which would swamp their distances
        # in rounding errors. What centring takes from a similarity is equal for all vectors, or added as an offset.
        self._prepared = torch.empty_like(self._vectors)
        self._offset = torch.empty(len(vectors), device=vectors.device)
        for part in parts:
            centred = (self._form(self._vectors[part]) - self._centre) / self._spread
            self._prepared[part] = centred.float()
            offset = centred @ self._centre if self._cosine else centred.square().sum(1) / -2
            self._offset[part] = offset.float()
        self._largest_offset = float(self._offset.abs().max())

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """The ``k`` nearest vectors of each query.

        Args:
            queries: float32 ``(Q, D)``.
            k: From 1 to the number of vectors.
        """
        index = torch.empty((len(queries), k), dtype=torch.int64, device=queries.device)
        similarity = torch.empty((len(queries), k), dtype=torch.float64, device=queries.device)
        rows = max(1, SEARCH_BYTES // (4 * len(self)))
        block = torch.empty((min(rows, len(queries)), len(self)), device=queries.device)
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            index[part], similarity[part] = self._search(self._form(queries[part]), k, block)
        return Neighbours(index, similarity)

    def _search(self, queries: Tensor, k: int, block: Tensor) -> tuple[Tensor, Tensor]:
        centred = (queries - self._centre) / self._spread
        products = torch.addmm(self._offset, centred.float(), self._prepared.T, out=block[: len(queries)])
        found, candidates = largest(products, min(k + SLACK, len(self)))
        index, similarity = self._rank(queries, candidates.sort(1).values, k)
        if candidates.shape[1] < len(self):
            floor = self._floor(queries, centred, similarity[:, -1])
            for row in (found.amin(1) >= floor).nonzero()[:, 0].tolist():
                possible = products[row] >= floor[row]
                possible[candidates[row]] = True
                more = self._rank(queries[row : row + 1], possible.nonzero().T, k)
                index[row], similarity[row] = more[0][0], more[1][0]
        return index, similarity

    def _floor(self, queries: Tensor, centred: Tensor, last: Tensor) -> Tensor:
        """What the product gives at least for a vector as near as the last neighbour: float64 ``(Q,)``.

        By Higham and Mary (A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019) the
        error of a product of length ``D`` stays below ``c sqrt(D) u |q| |b|`` with high probability for a small ``c``;
        8 is far on the safe side.
        """
        length = torch.linalg.vector_norm(centred, dim=1)
        # Of a vector nearer than the last neighbour, by the triangle inequality.
        if self._cosine:
            longest = length + (2 - 2 * last).clamp_min(0).sqrt()
            value = last - queries @ self._centre
            scale = longest * length + self._largest_offset
        else:
            longest = length + (-2 * last).sqrt()
            value = last + length.square() / 2
            scale = longest * (length + longest / 2)
        unit = _UNIT_ROUNDOFF[torch.get_float32_matmul_precision()]
        own = torch.finfo(torch.float64).eps * (1 + value.abs())
        floor: Tensor = value - 8 * math.sqrt(centred.shape[1]) * (unit * scale + own)
        return floor

    def _rank(self, queries: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The best k of the candidates, in fp64; candidates ascend, so a stable sort puts lower positions first."""
        similarity = torch.empty(candidates.shape, dtype=torch.float64, device=queries.device)
        columns = max(1, RANK_BYTES // (8 * queries.numel()))
        for start in range(0, candidates.shape[1], columns):
            part = slice(start, start + columns)
            vectors = self._form(self._vectors[candidates[:, part]])
            if self._cosine:
                similarity[:, part] = vectors.mul_(queries[:, None]).sum(2)
            else:
                distance = torch.linalg.vector_norm(vectors.sub_(queries[:, None]), dim=2)
                similarity[:, part] = distance.div_(self._spread).square_().div_(-2)
        best, order = similarity.sort(stable=True, dim=1, descending=True)
        return candidates.gather(1, order[:, :k]), best[:, :k]

    def _form(self, vectors: Tensor) -> Tensor:
        """Vectors as they are compared, float64: of length one for the cosine, though a zero vector stays zero."""
        exact = vectors.to(torch.float64, copy=True)
        if self._cosine:
            lengths = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
            exact /= lengths.clamp_min_(torch.finfo(torch.float64).tiny)
        return exact


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their columns, in any order: `torch.topk`, at half the price on long rows.

    Nothing outside the k groups of columns with the largest maxima exceeds the smallest of these maxima, so they hold
    k largest values, and only they are gone through.

    Args:
        values: float32 ``(R, N)``.
        k: From 1 to ``N``.
    """
    rows, columns = values.shape
    groups = columns // GROUP
    if groups < 4 * k:
        return values.topk(k, sorted=False)
    grouped = groups * GROUP
    peaks = values[:, :grouped].reshape(rows, GROUP, groups).amax(1)  # group g: columns g, g + groups, ...
    first = peaks.topk(k, sorted=False).indices
    steps = torch.arange(0, grouped, groups, device=values.device)
    ungrouped = torch.arange(grouped, columns, device=values.device).expand(rows, -1)
    index = torch.cat([(first[:, None] + steps[:, None]).flatten(1), ungrouped], 1)
    found, places = values.gather(1, index).topk(k, sorted=False)
    return found, index.gather(1, places)
