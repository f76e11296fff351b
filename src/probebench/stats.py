"""How certain a number is: intervals, paired tests and differences of two rows, rows that cannot be told apart."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING

from probebench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

ALPHA = 0.05
"""Two rows are told apart when the paired test's p-value is below this."""


def wilson(correct: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    Unlike the interval ``p +- z * sqrt(p * (1 - p) / n)`` it stays within 0 and 1, does not shrink to a point at
    either end, and keeps its coverage for small ``n``.

    Args:
        correct: Number of successes; a mean over several seeds need not be whole.
        n: Number of trials.
        confidence: Coverage, between 0 and 1.

    Returns:
        Lower and upper end, as proportions.

    Raises:
        ValueError: ``n`` is not positive, ``correct`` is not within 0 and ``n``, or ``confidence`` not between 0 and 1.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927), with
    the recommendation of Brown, Cai and DasGupta, Interval estimation for a binomial proportion, Statistical Science
    16 (2001).
    """
    _check_confidence(confidence)
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} successes of {n} trials")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # In exact arithmetic the interval ends at 0 for no success and at 1 for no failure, and it holds the proportion.
    low = 0.0 if correct == 0 else min(max(middle - half, 0.0), share)
    high = 1.0 if correct == n else max(min(middle + half, 1.0), share)
    return low, high


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's interval of a mean, for the values of several seeds.

    Args:
        values: Two values or more.
        confidence: Coverage, between 0 and 1.

    Returns:
        Lower and upper end. They are not clipped: the mean of a few seeds is not a proportion.

    Raises:
        ValueError: Fewer than two values, from which no spread can be told, or ``confidence`` not between 0 and 1.

    Source: Student, The probable error of a mean, Biometrika 6 (1908).
    """
    _check_confidence(confidence)
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs two values or more, not {len(values)}")
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike) -> float:
    """Exact two-sided McNemar test: are two rows, measured on the same images, equally often right?

    Only images on which exactly one of the two is right speak for a difference. If the rows are equally good, each of
    these is won by either with probability 1/2, so the number won is binomial.

    Args:
        a_correct: For each image whether the first row is right, ``(N,)``.
        b_correct: The same for the second row, over the same images in the same order.

    Returns:
        The p-value; 1.0 when no image tells the rows apart.

    Raises:
        UsageError: The rows do not have the same number of images.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12
    (1947); the exact binomial form, as in Dietterich, Approximate statistical tests for comparing supervised
    classification learning algorithms, Neural Computation 10 (1998).
    """
    from scipy.special import bdtr

    only_a, only_b, _ = _discordant(a_correct, b_correct)
    if only_a == only_b:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_bootstrap(
    a_correct: ArrayLike, b_correct: ArrayLike, *, confidence: float = 0.95, resamples: int = 100_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the difference in accuracy of two rows, measured on the same images.

    Images are drawn with replacement, each with its two outcomes: what the rows find equally hard cancels. An image
    adds +1, -1 or 0 to the difference, so a resample is a draw from a multinomial distribution and no image has to be
    drawn one by one.

    Args:
        a_correct: For each image whether the first row is right, ``(N,)``.
        b_correct: The same for the second row, over the same images in the same order.
        confidence: Coverage, between 0 and 1.
        resamples: Number of resamples.
        seed: Of the resampling.

    Returns:
        Lower and upper end of accuracy A minus accuracy B, as shares from -1 to 1.

    Raises:
        UsageError: The rows do not have the same number of images, or have none.
        ValueError: ``confidence`` is not between 0 and 1.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3; for paired classifiers
    P. Koehn, Statistical significance tests for machine translation evaluation, EMNLP (2004).
    """
    import numpy as np

    _check_confidence(confidence)
    only_a, only_b, n = _discordant(a_correct, b_correct)
    if not n:
        raise UsageError("there are no images to compare on", hint="compare rows that were measured on images")
    shares = [only_a / n, only_b / n, (n - only_a - only_b) / n]
    draws = np.random.Generator(np.random.PCG64(seed)).multinomial(n, shares, size=resamples)
    low, high = np.quantile((draws[:, 0] - draws[:, 1]) / n, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _discordant(a_correct: ArrayLike, b_correct: ArrayLike) -> tuple[int, int, int]:
    """Images that only the first row has right, that only the second has right, and all."""
    import numpy as np

    a, b = np.asarray(a_correct, dtype=bool), np.asarray(b_correct, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(
            f"a paired test needs the same images on both sides, not {a.size} and {b.size}",
            hint="compare rows of the same dataset, split and limit",
        )
    return int((a & ~b).sum()), int((b & ~a).sum()), a.size


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: all of them below alpha are significant together, at a family-wise error of alpha.

    Args:
        p_values: Of the tests that are made together, each from 0 to 1.

    Returns:
        The adjusted values in the same order, each from its p-value to 1.

    Raises:
        ValueError: A value is not from 0 to 1.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6
    (1979).
    """
    if any(not 0 <= p <= 1 for p in p_values):
        raise ValueError(f"not all of {list(p_values)} are from 0 to 1")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = largest
    return adjusted


def tie_groups(rows: int, p_value: Callable[[int, int], float], *, alpha: float = ALPHA) -> list[int]:
    """Groups of neighbouring rows of a ranking that cannot be told apart from the first row of their group.

    A row joins the group above it while its difference to that group's leader is not significant; otherwise it
    leads the next group. Comparing with the leader, and not with the row just above, keeps a long chain of small
    differences from tying the first row with the last.

    Args:
        rows: Number of rows, ranked from the best.
        p_value: p-value of the paired test of rows ``i`` and ``j``, both counted from 0, ``i < j``.
        alpha: A p-value below this tells two rows apart.

    Returns:
        For each row the number of its group, from 1, never falling.
    """
    groups: list[int] = []
    leader = 0
    for row in range(rows):
        if not groups:
            groups.append(1)
        elif p_value(leader, row) >= alpha:
            groups.append(groups[-1])
        else:
            leader = row
            groups.append(groups[-1] + 1)
    return groups


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
