"""Products of queries with all vectors of a bank, in fp32 or bf16, each with a bound of its rounding error.

The vectors are centred, and the offset of each vector is added to its products. The offsets have mean zero, so the
products have mean zero too: those of near vectors are positive, which `Bf16Products` relies on for speed and checks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_BYTES = 64 << 20
"""Limit for one block of products."""

CHUNK_VECTORS = 8192
"""Vectors in one bf16 product. A longer one is slower, because its packed operand does not fit in the cache."""

GROUP = 16
"""Vectors of which only the maximum product is compared before any are ranked."""

_UNIT_ROUNDOFF = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
"""Unit roundoff of an fp32 matrix product, by `torch.get_float32_matmul_precision`."""

_OFFSETS = 3
"""Columns of an offset in bf16: three pieces of 8 bits give the 24 bits of fp32."""


class Products(Protocol):
    """Interface of the products that `Bank` searches with.

    Attributes:
        rows: Maximum number of queries in one call.
    """

    rows: int

    def spare(self, k: int) -> int:
        """Returns the number of candidates beyond ``k`` that are needed so that few queries remain open."""
        ...

    def best(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Returns the largest products of each query, float32 ``(Q, count)``, descending, and their vectors.

        The products are plus infinity where they are not known. Valid until the next call.
        """
        ...

    def lower_bound(self, value: Tensor, queries: Tensor, longest: Tensor) -> Tensor:
        """Returns a lower bound of what is computed for a product, float32 ``(Q,)``.

        Args:
            value: float64 ``(Q,)``, the product without rounding.
            queries: float64 ``(Q, D)``.
            longest: float64 ``(Q,)``, an upper bound of the length of the vector.
        """
        ...


class Fp32Products:
    """Fp32 matrix products.

    Args:
        vectors: float32 ``(N, D)``, centred.
        offset: float32 ``(N,)``, of mean zero.
    """

    def __init__(self, vectors: Tensor, offset: Tensor) -> None:
        self._vectors, self._offset = vectors, offset
        self._largest_offset = float(offset.abs().max())
        self.rows = max(1, BLOCK_BYTES // (4 * len(vectors)))
        self._block = torch.empty(0, len(vectors), device=vectors.device)

    def spare(self, k: int) -> int:
        """Implements `Products.spare`: the gap to the next vector exceeds the error unless both are almost equal."""
        del k
        return 16

    def best(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Implements `Products.best`."""
        if len(self._block) < len(queries):
            self._block = self._block.new_empty(len(queries), len(self._vectors))
        block = self._block[: len(queries)]
        return largest(torch.addmm(self._offset, queries.float(), self._vectors.T, out=block), count)

    def within(self, row: int, bound: float) -> Tensor:
        """Returns which products of a row of the last call are not below ``bound``, bool ``(N,)``."""
        return self._block[row] >= bound

    def lower_bound(self, value: Tensor, queries: Tensor, longest: Tensor) -> Tensor:
        """Implements `Products.lower_bound`, by a bound that holds with high probability.

        By Higham and Mary (A new approach to probabilistic rounding error analysis, SIAM J. Sci. Comput. 41, 2019) the
        error of a product of length ``D`` stays below ``c sqrt(D) u |q| |b|`` with high probability for a small ``c``;
        8 is conservative.
        """
        unit = _UNIT_ROUNDOFF[torch.get_float32_matmul_precision()]
        scale = longest * torch.linalg.vector_norm(queries, dim=1) + self._largest_offset
        own = torch.finfo(torch.float64).eps * (1 + value.abs())
        return below(value - 8 * math.sqrt(queries.shape[1]) * (unit * scale + own))


class Bf16Products:
    """Products of operands rounded to bf16, summed in fp32 and rounded to bf16: seven times as fast with AMX.

    Args:
        count: Number of vectors.
        dimensions: Length of the vectors.
    """

    def __init__(self, count: int, dimensions: int) -> None:
        self._dimensions = dimensions
        self._vectors = torch.empty(count, dimensions + _OFFSETS, dtype=torch.bfloat16)
        self._largest_offset, self._residual = 0.0, 0.0
        self.rows = max(1, BLOCK_BYTES // (2 * count))
        self._block = torch.empty(0, count, dtype=torch.bfloat16)

    @staticmethod
    def pays(vectors: Tensor) -> bool:
        """Returns whether the processor multiplies in bf16 and the bank is large enough to gain from it."""
        return (
            vectors.device.type == "cpu"
            and len(vectors) >= CHUNK_VECTORS
            and bool(torch.cpu.get_capabilities().get("amx_bf16", False))
        )

    def put(self, part: slice, vectors: Tensor, offset: Tensor) -> None:
        """Stores some of the vectors, float64 ``(n, D)`` and centred, with their offsets, float64 ``(n,)``."""
        columns = self._vectors[part]
        columns[:, : self._dimensions] = vectors
        residual = torch.linalg.vector_norm(columns[:, : self._dimensions] - vectors, dim=1)
        shares = residual / torch.linalg.vector_norm(vectors, dim=1).clamp_min(torch.finfo(torch.float64).tiny)
        self._residual = max(self._residual, float(shares.max()))
        self._largest_offset = max(self._largest_offset, float(offset.abs().max()))
        rest = offset
        for column in range(self._dimensions, self._dimensions + _OFFSETS):
            columns[:, column] = rest
            rest = rest - columns[:, column]

    def spare(self, k: int) -> int:
        """Implements `Products.spare`: on features of networks and on pixels, 99 of 100 queries need fewer."""
        return k + 48

    def best(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Implements `Products.best`.

        Positive bf16 numbers have the order of the integers of the same bits, which are compared several times as fast.
        Negative numbers are negative integers, but in another order.
        """
        if len(self._block) < len(queries):
            self._block = torch.empty(len(queries), len(self._vectors), dtype=torch.bfloat16)
        block = self._block[: len(queries)]
        ones = torch.ones(len(queries), _OFFSETS, dtype=torch.bfloat16)
        rounded = torch.cat([queries.bfloat16(), ones], 1)
        for start in range(0, len(self._vectors), CHUNK_VECTORS):
            part = slice(start, start + CHUNK_VECTORS)
            torch.mm(rounded, self._vectors[part].T, out=block[:, part])
        bits, index = largest(block.view(torch.int16), count)
        values = bits.contiguous().view(torch.bfloat16).float()
        return values.masked_fill_(bits[:, -1:] <= 0, math.inf), index

    def lower_bound(self, value: Tensor, queries: Tensor, longest: Tensor) -> Tensor:
        """Implements `Products.lower_bound`, by a bound that always holds.

        With roundings q' of q and b' of b: ``|q b - q' b'| <= |q - q'| |b| + |q'| |b - b'|``, both known. Summing ``n``
        terms in fp32 in any order adds at most ``n u`` times the sum of their sizes. The last rounding is monotone.
        """
        rounded = queries.bfloat16().double()
        length = torch.linalg.vector_norm(rounded, dim=1)
        error = torch.linalg.vector_norm(queries - rounded, dim=1) * longest + length * self._residual * longest
        summed = (1 + self._residual) * length * longest + self._largest_offset
        terms = self._vectors.shape[1]
        return below(value - 1.001 * (error + 1.01 * (terms + 1) * 2.0**-24 * summed)).bfloat16().float()


def below(value: Tensor) -> Tensor:
    """Rounds float64 down to float32."""
    rounded = value.float()
    return torch.where(rounded > value, torch.nextafter(rounded, rounded.new_tensor(-math.inf)), rounded)


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns the k largest values of each row, descending, and their columns, as `torch.topk`.

    On long rows it takes half the time of `torch.topk`.

    No value outside the k groups of columns with the largest maxima exceeds the smallest of these maxima. So these
    groups, with the columns that are in no group, contain k largest values, and only they are searched.

    Args:
        values: ``(R, N)``.
        k: From 1 to ``N``.
    """
    rows, columns = values.shape
    groups = columns // GROUP
    if groups < 4 * k:
        best, index = values.topk(k)
        return best, index
    grouped = groups * GROUP
    peaks = values[:, :grouped].reshape(rows, GROUP, groups).amax(1)  # group g: columns g, g + groups, ...
    first = peaks.topk(k, sorted=False).indices
    steps = torch.arange(0, grouped, groups, device=values.device)
    ungrouped = torch.arange(grouped, columns, device=values.device).expand(rows, -1)
    index = torch.cat([(first[:, None] + steps[:, None]).flatten(1), ungrouped], 1)
    best, order = values.gather(1, index).topk(k)
    return best, index.gather(1, order)
