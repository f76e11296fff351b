"""Exact nearest neighbours at the cost of a fast search.

A matrix product gives more candidates than requested: in bf16 where the processor multiplies in bf16, else in fp32.
Their similarities are then computed again in fp64, from the vectors themselves, and ranked, with ties in the order of
positions. Where the rounding error of the product leaves room for a nearer neighbour, more candidates are ranked. A
query that remains open after the bf16 product is searched again in fp32. If it remains open there too, as between many
equal vectors, every vector within the error is ranked. So the result depends neither on chunks, threads or device nor
on the precision of the product.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch

from probebench.api import Neighbours
from probebench_probes.neighbours.matrix_products import Bf16Products, Fp32Products

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from probebench_probes.neighbours.matrix_products import Products

Distance = Literal["cosine", "euclidean"]

CACHED_BYTES = 1 << 20
"""Limit for the fp64 vectors that are used at a time: they should fit in the processor's cache."""

GROUP_ROWS = 32
"""Queries that are ranked together, with the same number of further candidates."""


class Bank:
    """Vectors to search among.

    Similarity is the cosine, or ``-d^2 / (2 s^2)`` for the Euclidean distance ``d``, where ``s`` is the spread of the
    bank: the root mean square distance of its vectors from their mean. So neither depends on the scale of the features,
    and on centred vectors of length 1 they differ by a constant.

    Args:
        vectors: float32 ``(N, D)``, at least one. Kept by reference, beside one copy prepared for the search.
        distance: ``cosine`` or ``euclidean``. The cosine of a zero vector with any other is 0.
    """

    def __init__(self, vectors: Tensor, distance: Distance) -> None:
        self._vectors = vectors.float()
        self._cosine = distance == "cosine"
        self._lengths = _lengths(self._vectors) if self._cosine else None
        self._centre = torch.stack([self._form(part).sum(0) for part in self._parts()]).sum(0) / len(vectors)
        # If the spread is 0, all vectors are equal, and any unit serves.
        self._spread = 1.0 if self._cosine else self._root_mean_square() or 1.0
        self._mean_offset = 0.0 if self._cosine else -(self._root_mean_square() ** 2) / (2 * self._spread**2)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Returns the ``k`` nearest vectors of each query.

        Args:
            queries: float32 ``(Q, D)``.
            k: From 1 to the number of vectors.
        """
        neighbours = Neighbours(
            torch.empty((len(queries), k), dtype=torch.int64, device=queries.device),
            torch.empty((len(queries), k), dtype=torch.float64, device=queries.device),
        )
        rows = torch.arange(len(queries), device=queries.device)
        if Bf16Products.pays(self._vectors):
            rows = self._fill(neighbours, queries, rows, self._bf16)
        self._fill(neighbours, queries, rows, self._fp32)
        return neighbours

    def _fill(self, neighbours: Neighbours, queries: Tensor, rows: Tensor, products: Products) -> Tensor:
        """Writes the neighbours of some queries; returns the rows that remain open."""
        left = []
        k = neighbours.index.shape[1]
        blocks = torch.split(rows, products.rows)
        for number, block in enumerate(blocks):
            formed = self._formed(queries[block])
            index, similarity, is_open = self._search(formed, k, products)
            neighbours.index[block], neighbours.similarity[block] = index, similarity
            left.append(block[is_open])
            if 2 * len(left[-1]) > len(block):  # This product cannot separate these features, nor the remaining ones.
                left += blocks[number + 1 :]
                break
        return torch.cat(left) if left else rows

    def _search(self, queries: Tensor, k: int, products: Products) -> tuple[Tensor, Tensor, Tensor]:
        """Returns index and similarity of the neighbours, and which queries remain open: none with fp32 products."""
        centred = (queries - self._centre) / self._spread
        count = min(k + products.spare(k), len(self))
        values, candidates = products.best(centred, count)
        similarity = torch.full(candidates.shape, -math.inf, dtype=torch.float64, device=queries.device)
        similarity[:, :k] = self._similarity(queries, candidates[:, :k])
        # The k-th neighbour is at least as near as the farthest of these.
        bound = self._lower_bound(queries, centred, similarity[:, :k].amin(1), products)
        needed = (values >= bound[:, None]).sum(1).clamp_min_(k)
        for rows, stop in _grouped(needed, k):
            similarity[rows, k:stop] = self._similarity(queries[rows], candidates[rows, k:stop])
        best, index = ranked(similarity, candidates, k)
        rows = torch.arange(0, device=queries.device)
        if count < len(self):
            bound = self._lower_bound(queries, centred, best[:, -1], products)
            rows = (values[:, -1] >= bound).nonzero()[:, 0]
        if isinstance(products, Fp32Products):
            for row in rows.tolist():
                possible = products.within(row, float(bound[row]))
                possible[candidates[row]] = True
                more = possible.nonzero().T
                (best[row],), (index[row],) = ranked(self._similarity(queries[row : row + 1], more), more, k)
            rows = rows[:0]
        is_open = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
        is_open[rows] = True
        return index, best, is_open

    def _lower_bound(self, queries: Tensor, centred: Tensor, last: Tensor, products: Products) -> Tensor:
        """Returns the least computed product of a vector as near as the last neighbour: float32 ``(Q,)``."""
        length = torch.linalg.vector_norm(centred, dim=1)
        # Upper bound for the length of a vector nearer than the last neighbour, by the triangle inequality.
        if self._cosine:
            longest = length + (2 - 2 * last).clamp_min(0).sqrt()
            value = last - queries @ self._centre
        else:
            longest = length + (-2 * last).sqrt()
            value = last + length.square() / 2 - self._mean_offset
        return products.lower_bound(value, centred, longest)

    def _similarity(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Returns the similarity of each query to its candidates, in fp64; equal vectors have bit-identical ones."""
        similarity = torch.empty(candidates.shape, dtype=torch.float64, device=queries.device)
        rows = max(1, CACHED_BYTES // (8 * candidates.shape[1] * queries.shape[1]))
        columns = max(1, CACHED_BYTES // (8 * queries.shape[1]))
        for top in range(0, len(queries), rows):
            for left in range(0, candidates.shape[1], columns):
                at = slice(top, top + rows), slice(left, left + columns)
                index, query = candidates[at], queries[at[0], None]
                vectors = self._vectors.index_select(0, index.flatten()).view(*index.shape, -1).double()
                if self._lengths is not None:
                    similarity[at] = vectors.mul_(query).sum(2) / self._lengths[index]
                else:
                    distance = torch.linalg.vector_norm(vectors.sub_(query), dim=2)
                    similarity[at] = distance.div_(self._spread).square_().div_(-2)
        return similarity

    @cached_property
    def _fp32(self) -> Fp32Products:
        vectors, offsets = torch.empty_like(self._vectors), []
        for part, centred, offset in self._prepared():
            vectors[part] = centred.float()
            offsets.append(offset.float())
        return Fp32Products(vectors, torch.cat(offsets))

    @cached_property
    def _bf16(self) -> Bf16Products:
        products = Bf16Products(*self._vectors.shape)
        for part, centred, offset in self._prepared():
            products.put(part, centred, offset)
        return products

    def _prepared(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yields the vectors as they are multiplied, with their offsets, in fp64.

        The product is of centred vectors: features often have a large common part, and its rounding errors would hide
        their distances. Centring changes all similarities of a query by one constant, or by an offset that is added.
        """
        for part in self._parts():
            centred = (self._form(part) - self._centre).div_(self._spread)
            offset = centred @ self._centre if self._cosine else centred.square().sum(1).div_(-2)
            yield part, centred, offset - self._mean_offset

    def _root_mean_square(self) -> float:
        squares = sum(float((self._form(part) - self._centre).square_().sum()) for part in self._parts())
        return math.sqrt(squares / len(self))

    def _parts(self) -> list[slice]:
        return _parts(self._vectors)

    def _form(self, part: slice) -> Tensor:
        """Returns vectors as they are compared, float64: of length 1 for the cosine; a zero vector remains zero."""
        vectors = self._vectors[part]
        return vectors.double() if self._lengths is None else vectors / self._lengths[part, None]

    def _formed(self, queries: Tensor) -> Tensor:
        return queries / _lengths(queries)[:, None] if self._cosine else queries.double()


def ranked(similarity: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns the k best similarities of each row, descending, and their candidates; ties in the order of positions."""
    index, order = candidates.sort(1)
    best, columns = similarity.gather(1, order).sort(stable=True, dim=1, descending=True)
    return best[:, :k], index.gather(1, columns[:, :k])


def _grouped(needed: Tensor, beyond: int) -> Iterator[tuple[Tensor, int]]:
    """Yields rows that need more than ``beyond`` candidates, grouped by how many, with the most that a group needs."""
    counts, order = needed.sort()
    rows = torch.split(order[counts > beyond], GROUP_ROWS)
    yield from ((some, int(needed[some[-1]])) for some in rows if len(some))


def _lengths(vectors: Tensor) -> Tensor:
    """Returns lengths to divide by, float64 ``(N,)``: that of a zero vector is the smallest positive number."""
    parts = [torch.linalg.vector_norm(vectors[part].double(), dim=1) for part in _parts(vectors)]
    return torch.cat(parts).clamp_min_(torch.finfo(torch.float64).tiny) if parts else vectors.new_empty(0).double()


def _parts(vectors: Tensor) -> list[slice]:
    rows = max(1, CACHED_BYTES // (8 * vectors.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(vectors), rows)]
