"""Similarity of two feature matrices of the same images: linear CKA and CKNNA, in float64.

Both are invariant to rotations and to scaling of all features by one factor, and CKA also to shifts. Neither computes a
whole matrix of images by images: besides float64 copies of the features, they need a few dozen megabytes of memory for
any number of images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from probebench.util.seeding import hash63

MIN_IMAGES = 4
"""Smallest number of images with an unbiased HSIC."""

_BLOCK = 1 << 22  # numbers in one block: 32 MB
_EQUAL = 1e-12  # differences below this share of a feature are rounding


def cka(x: Tensor, y: Tensor, *, batch: int | None = None) -> float:
    """Computes linear CKA: the HSIC of two feature matrices, divided by the root of the HSIC of each with itself.

    The unbiased estimator is 0 on average for unrelated matrices of any width, so a single value may be negative. The
    maximum is 1, for equal matrices.

    Args:
        x: ``(N, D)``, one row for each image.
        y: ``(N, E)``, of the same images in the same order.
        batch: See `hsic`.

    Returns:
        From -1 to 1; NaN if all rows of a matrix are equal.

    Source:
        Kornblith et al., Similarity of Neural Network Representations Revisited, 2019; the minibatch form is that of
        Nguyen et al., Do Wide and Deep Networks Learn the Same Things?, arXiv 2010.15327.
    """
    return normalised(hsic(x, y, batch=batch), hsic(x, x, batch=batch), hsic(y, y, batch=batch))


def normalised(cross: float, first: float, second: float) -> float:
    """Divides a similarity by the root of the two self-similarities; NaN if one of them is not positive."""
    return cross / math.sqrt(first * second) if first > 0 and second > 0 else math.nan


def hsic(x: Tensor, y: Tensor, *, batch: int | None = None) -> float:
    """Computes the unbiased estimate of the Hilbert-Schmidt independence criterion (HSIC) with linear kernels.

    Args:
        x: ``(N, D)``, `MIN_IMAGES` rows or more.
        y: ``(N, E)``, of the same images in the same order.
        batch: Minibatch size, `MIN_IMAGES` or more, for the mean over random minibatches. They contain each image once,
            have this size or a slightly larger one, and depend only on N and this size. With None, or more than half
            of N, all images are used together, which has a smaller variance.

    Raises:
        ValueError: The numbers of rows differ or are too small.

    Source:
        Song et al., Feature Selection via Dependence Maximization, JMLR 13, 2012, equation 5.
    """
    n = len(x)
    if len(y) != n or n < MIN_IMAGES or (batch is not None and batch < MIN_IMAGES):
        raise ValueError(f"HSIC is not defined for {n} and {len(y)} images in batches of {batch}")
    if batch is None or n // batch < 2:
        return _hsic(x, y)
    generator = torch.Generator().manual_seed(hash63("similarity", n, batch))
    parts = [part.to(x.device) for part in torch.randperm(n, generator=generator).tensor_split(n // batch)]
    return math.fsum(_hsic(x[part], y[part]) for part in parts) / len(parts)


def _hsic(x: Tensor, y: Tensor) -> float:
    """Computes equation 5 for K = XX' and L = YY', without the whole matrices.

    Columns of centred features sum to 0, so the rows of K and L without their diagonals k and l sum to -k and -l. The
    estimate is invariant to shifts, so centring changes only the rounding.
    """
    n = len(x)
    x, y = _centred(x), _centred(y)
    k, l = x.square().sum(1), y.square().sum(1)  # noqa: E741 - the letters of the source
    both = float(k @ l)
    trace = _squared_product(x, y) - both
    means = float(k.sum() * l.sum()) / ((n - 1) * (n - 2))
    return (trace + means - 2 * both / (n - 2)) / (n * (n - 3))


def _centred(x: Tensor) -> Tensor:
    """Subtracts the mean, in float64. Returns zeros if only rounding errors are left."""
    x = x.double()
    scale = float(x.abs().max())
    x = x - x.mean(0)
    return x if float(x.abs().max()) > _EQUAL * scale else torch.zeros_like(x)


def _squared_product(x: Tensor, y: Tensor) -> float:
    """Computes the sum of squares of X'Y, which is the trace of XX'YY', by the cheaper of the two, block by block."""
    n, width, other = len(x), x.shape[1], y.shape[1]
    if n * (width + other) < width * other:
        step = max(1, _BLOCK // n)
        blocks = (((x[i : i + step] @ x.T) * (y[i : i + step] @ y.T)).sum() for i in range(0, n, step))
    else:
        step = max(1, _BLOCK // other)
        blocks = ((x[:, i : i + step].T @ y).square().sum() for i in range(0, width, step))
    return math.fsum(map(float, blocks))


@dataclass(frozen=True)
class NeighbourSets:
    """The nearest neighbours of each image among the other images.

    Attributes:
        index: int64 ``(N, k)``, nearest first.
        kernel: float64 ``(N, k)``, their cosine similarity, minus the mean similarity of the image to all images.
    """

    index: Tensor
    kernel: Tensor


def neighbours(x: Tensor, k: int) -> NeighbourSets:
    """Returns the `k` images with the largest cosine similarity to each image.

    Args:
        x: ``(N, D)``, more than `k` rows.
        k: 1 or more.

    Raises:
        ValueError: There are too few images for `k`.
    """
    n = len(x)
    if not 0 < k < n:
        raise ValueError(f"{n} images do not have {k} neighbours each")
    x = torch.nn.functional.normalize(x.double())
    mean, step = x.mean(0), max(1, _BLOCK // n)
    nearest = []
    for start in range(0, n, step):
        rows = x[start : start + step]
        kernel = rows @ x.T - (rows @ mean)[:, None]
        each = torch.arange(len(rows), device=x.device)
        kernel[each, start + each] = -torch.inf  # an image is no neighbour of itself
        nearest.append(kernel.topk(k))
    return NeighbourSets(torch.cat([top.indices for top in nearest]), torch.cat([top.values for top in nearest]))


def align(a: NeighbourSets, b: NeighbourSets) -> float:
    """Sums the products of both kernels over the neighbours that an image has in both matrices.

    This is the numerator of CKNNA, without a factor that cancels against the denominator.
    """
    shared = (a.index[:, :, None] == b.index[:, None, :]).double()
    total = float(torch.einsum("nk,nkl,nl->", a.kernel, shared, b.kernel))
    return total if abs(total) > _EQUAL**2 * a.index.numel() else 0.0


def cknna(x: Tensor, y: Tensor, k: int) -> float:
    """Computes the centred kernel nearest-neighbour alignment (CKNNA): CKA over shared neighbours only.

    Args:
        x: ``(N, D)``, one row for each image; rows are normalised to length 1.
        y: ``(N, E)``, of the same images in the same order.
        k: Number of neighbours of each image.

    Returns:
        At most 1, for equal neighbours at equal similarities; about ``k / N`` for unrelated matrices. NaN if all rows
        of a matrix have the same direction.

    Source:
        Huh et al., The Platonic Representation Hypothesis, arXiv 2405.07987, appendix A, for features of length 1 as in
        the authors' experiments. The published code of the authors gives other values: it puts masked kernels that are
        not centred into the unbiased HSIC, and uses only pairs of mutual neighbours.
    """
    a, b = neighbours(x, k), neighbours(y, k)
    return normalised(align(a, b), align(a, a), align(b, b))
