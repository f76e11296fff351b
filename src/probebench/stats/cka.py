"""How alike two feature matrices of the same images are: linear CKA and CKNNA, in float64.

Both are blind to rotations and to one factor for all features; CKA to a shift as well. Neither forms a matrix of images
by images: beside float64 copies of what is compared, a few dozen megabytes are held, whatever the number of images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from probebench.util.seeding import hash63

LEAST = 4
"""The fewest images that have an unbiased HSIC."""

_BLOCK = 1 << 22  # numbers held at once: 32 MB
_EQUAL = 1e-12  # differences below this share of a feature are rounding


def cka(x: Tensor, y: Tensor, *, batch: int | None = None) -> float:
    """Linear CKA of two feature matrices: their HSIC, over the root of each one's HSIC with itself.

    With the unbiased estimator, matrices that have nothing in common give 0 on average, however wide they are; a
    single value may be below 0. It is at most 1, and that for equal matrices.

    Args:
        x: ``(N, D)``, one row for each image.
        y: ``(N, E)``, of the same images in the same order.
        batch: As in `hsic`.

    Returns:
        From -1 to 1; NaN where a matrix is the same for all images.

    Source:
        Kornblith et al., Similarity of Neural Network Representations Revisited, 2019; the minibatch form is that of
        Nguyen et al., Do Wide and Deep Networks Learn the Same Things?, arXiv 2010.15327.
    """
    return normalised(hsic(x, y, batch=batch), hsic(x, x, batch=batch), hsic(y, y, batch=batch))


def normalised(cross: float, first: float, second: float) -> float:
    """A similarity over the root of what each side has with itself; NaN where a side has none."""
    return cross / math.sqrt(first * second) if first > 0 and second > 0 else math.nan


def hsic(x: Tensor, y: Tensor, *, batch: int | None = None) -> float:
    """The unbiased estimate of the Hilbert-Schmidt independence criterion, with linear kernels.

    Args:
        x: ``(N, D)``, `LEAST` rows or more.
        y: ``(N, E)``, of the same images in the same order.
        batch: Images of a minibatch, `LEAST` or more: then it is the mean over random minibatches, which hold each
            image once and are this large or a little larger. The division is the same whenever N and this are. None,
            or more than half of N, takes all images at once, which has the smaller variance.

    Raises:
        ValueError: The numbers of rows differ, or there are too few.

    Source:
        Song et al., Feature Selection via Dependence Maximization, JMLR 13, 2012, equation 5.
    """
    n = len(x)
    if len(y) != n or n < LEAST or (batch is not None and batch < LEAST):
        raise ValueError(f"there is no HSIC of {n} and {len(y)} images in batches of {batch}")
    if batch is None or n // batch < 2:
        return _hsic(x, y)
    generator = torch.Generator().manual_seed(hash63("similarity", n, batch))
    parts = [part.to(x.device) for part in torch.randperm(n, generator=generator).tensor_split(n // batch)]
    return math.fsum(_hsic(x[part], y[part]) for part in parts) / len(parts)


def _hsic(x: Tensor, y: Tensor) -> float:
    """Equation 5 for K = XX' and L = YY', which are never formed whole.

    Rows of centred features sum to 0, so those of K and L without their diagonals k and l sum to -k and -l. Centring
    changes nothing but the rounding: the estimate is blind to shifts.
    """
    n = len(x)
    x, y = _centred(x), _centred(y)
    k, l = x.square().sum(1), y.square().sum(1)  # noqa: E741 - the letters of the source
    both = float(k @ l)
    trace = _squared_product(x, y) - both
    means = float(k.sum() * l.sum()) / ((n - 1) * (n - 2))
    return (trace + means - 2 * both / (n - 2)) / (n * (n - 3))


def _centred(x: Tensor) -> Tensor:
    """Features less their mean, float64; zero where nothing but rounding is left."""
    x = x.double()
    scale = float(x.abs().max())
    x = x - x.mean(0)
    return x if float(x.abs().max()) > _EQUAL * scale else torch.zeros_like(x)


def _squared_product(x: Tensor, y: Tensor) -> float:
    """The sum of squares of X'Y, which is the trace of XX'YY': whichever of the two is less work, block by block."""
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
    """The nearest neighbours of each image among the others.

    Attributes:
        index: int64 ``(N, k)``, nearest first.
        kernel: float64 ``(N, k)``, cosine similarity to them, less the mean of the image's similarities to all images.
    """

    index: Tensor
    kernel: Tensor


def neighbours(x: Tensor, k: int) -> NeighbourSets:
    """Finds the `k` images with the largest cosine similarity to each, which are the nearest on the unit sphere.

    Args:
        x: ``(N, D)``, more than `k` rows.
        k: 1 or more.

    Raises:
        ValueError: There are too few images.
    """
    n = len(x)
    if not 0 < k < n:
        raise ValueError(f"{n} images do not have {k} neighbours each")
    x = torch.nn.functional.normalize(x.double())
    mean, step = x.mean(0), max(1, _BLOCK // n)
    found = []
    for start in range(0, n, step):
        rows = x[start : start + step]
        kernel = rows @ x.T - (rows @ mean)[:, None]
        each = torch.arange(len(rows), device=x.device)
        kernel[each, start + each] = -torch.inf  # nobody is a neighbour of itself
        found.append(kernel.topk(k))
    return NeighbourSets(torch.cat([top.indices for top in found]), torch.cat([top.values for top in found]))


def align(a: NeighbourSets, b: NeighbourSets) -> float:
    """The sum of products of both kernels over images with the neighbours that they have on both sides.

    It is the numerator of CKNNA, but for a factor that its denominator has too.
    """
    shared = (a.index[:, :, None] == b.index[:, None, :]).double()
    total = float(torch.einsum("nk,nkl,nl->", a.kernel, shared, b.kernel))
    return total if abs(total) > _EQUAL**2 * a.index.numel() else 0.0


def cknna(x: Tensor, y: Tensor, k: int) -> float:
    """Centred kernel nearest-neighbour alignment: CKA that looks only at neighbours both sides agree on.

    Args:
        x: ``(N, D)``, one row for each image; rows are brought to length 1.
        y: ``(N, E)``, of the same images in the same order.
        k: NeighbourSets of each image.

    Returns:
        At most 1, and that for equal neighbours at equal similarities; about ``k / N`` for matrices that have nothing
        in common. NaN where a matrix has the same direction for all images.

    Source:
        Huh et al., The Platonic Representation Hypothesis, arXiv 2405.07987, appendix A, on features of length 1 as in
        the authors' experiments. Their published code puts kernels that are masked, not centred, into the unbiased
        HSIC, and counts only pairs that are neighbours both ways: its values differ.
    """
    a, b = neighbours(x, k), neighbours(y, k)
    return normalised(align(a, b), align(a, a), align(b, b))
