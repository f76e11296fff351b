"""How certain a number is: intervals, the paired test of two rows, and groups of rows that cannot be told apart."""

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
    import numpy as np
    from scipy.special import bdtr

    a, b = np.asarray(a_correct, dtype=bool), np.asarray(b_correct, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(
            f"a paired test needs the same images on both sides, not {a.size} and {b.size}",
            hint="compare rows of the same dataset, split and limit",
        )
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a == only_b:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


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
