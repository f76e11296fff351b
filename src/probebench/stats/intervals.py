"""Confidence intervals of proportions, of means, and of differences between two rows."""

from __future__ import annotations

import math
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING, Final

from probebench.stats.significance import count_discordant
from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

ACCURACY_METHOD: Final = "wilson"
"""Name in records of the interval that `accuracy_interval` computes."""

ACCURACY_INTERVAL = "95 % Wilson score interval"
"""Its name in texts."""


def accuracy_interval(correct: float, n: int) -> tuple[float, float]:
    """Computes the 95 % interval of an accuracy that records, boards, reports and comparisons state.

    Args:
        correct: Number of correctly classified images; a mean over several seeds need not be whole.
        n: Number of images.

    Returns:
        Lower and upper end, as shares.

    Raises:
        ValueError: As `wilson`.
    """
    return wilson(correct, n)


def wilson(correct: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Computes Wilson's score interval of a proportion.

    Unlike the interval ``p +- z * sqrt(p * (1 - p) / n)`` it stays within 0 and 1, has a positive width for 0 and 1,
    and keeps its coverage for small ``n``.

    Args:
        correct: Number of successes. A mean over several seeds may be fractional.
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
        raise ValueError(f"{correct} successes of {n} trials are not possible")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # In exact arithmetic the interval contains the proportion, and reaches 0 without success and 1 without failure.
    low = 0.0 if correct == 0 else min(max(middle - half, 0.0), share)
    high = 1.0 if correct == n else max(min(middle + half, 1.0), share)
    return low, high


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Computes Student's t interval of a mean, for the values of several seeds.

    Args:
        values: Two values or more.
        confidence: Coverage, between 0 and 1.

    Returns:
        Lower and upper end. They are not clipped to 0 and 1, because a mean over seeds is not a proportion.

    Raises:
        ValueError: There are fewer than two values, or ``confidence`` is not between 0 and 1.

    Source: Student, The probable error of a mean, Biometrika 6 (1908).
    """
    _check_confidence(confidence)
    if len(values) < 2:
        raise ValueError(f"an interval of a mean needs two values or more, not {len(values)}")
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def paired_bootstrap(
    a_correct: ArrayLike, b_correct: ArrayLike, *, confidence: float = 0.95, resamples: int = 100_000, seed: int = 0
) -> tuple[float, float]:
    """Computes the percentile bootstrap interval of the difference in accuracy of two rows on the same images.

    Images are resampled with replacement, each with its two outcomes, so that the difficulty of an image cancels. An
    image contributes +1, -1 or 0 to the difference, so each resample is one sample of a multinomial distribution.

    Args:
        a_correct: For each image whether the prediction of the first row is correct, ``(N,)``.
        b_correct: The same for the second row, for the same images in the same order.
        confidence: Coverage, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end of accuracy A minus accuracy B, as proportions from -1 to 1.

    Raises:
        UsageError: The rows do not have the same number of images, or have no images.
        ValueError: ``confidence`` is not between 0 and 1.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3; for paired classifiers
    P. Koehn, Statistical significance tests for machine translation evaluation, EMNLP (2004).
    """
    import numpy as np

    _check_confidence(confidence)
    only_a, only_b, n = count_discordant(a_correct, b_correct)
    if not n:
        raise UsageError("the rows have no predictions to compare", hint="compare records of probes of labelled images")
    shares = [only_a / n, only_b / n, (n - only_a - only_b) / n]
    counts = np.random.Generator(np.random.PCG64(seed)).multinomial(n, shares, size=resamples)
    low, high = np.quantile((counts[:, 0] - counts[:, 1]) / n, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
