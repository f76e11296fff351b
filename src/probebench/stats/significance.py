"""Paired tests of two rows, corrections for several tests, and groups of rows that do not differ significantly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

ALPHA = 0.05
"""Two rows differ significantly if the p-value of the paired test is below this."""


def mcnemar(a_correct: ArrayLike, b_correct: ArrayLike) -> float:
    """Computes the exact two-sided McNemar test of the hypothesis that two rows have the same accuracy.

    Only images that exactly one of the two rows predicts correctly count. Under the hypothesis each of them is correct
    in either row with probability 1/2, so their number is binomial.

    Args:
        a_correct: For each image whether the prediction of the first row is correct, ``(N,)``.
        b_correct: The same for the second row, for the same images in the same order.

    Returns:
        The p-value; 1.0 if both rows are correct on the same images.

    Raises:
        UsageError: The rows do not have the same number of images.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions, Psychometrika 12
    (1947); the exact binomial form, as in Dietterich, Approximate statistical tests for comparing supervised
    classification learning algorithms, Neural Computation 10 (1998).
    """
    only_a, only_b, _ = count_discordant(a_correct, b_correct)
    n, successes = only_a + only_b, min(only_a, only_b)
    # The lower tail from its largest term down. scipy.special.bdtr gives the same, but takes 0.3 s to import.
    term, tail = math.comb(n, successes) / 2**n, 0.0
    while tail + term > tail:
        tail += term
        term *= successes / (n - successes + 1)
        successes -= 1
    return min(1.0, 2.0 * tail)


def count_discordant(a_correct: ArrayLike, b_correct: ArrayLike) -> tuple[int, int, int]:
    """Counts the images that only the first row predicts correctly, that only the second does, and all images."""
    import numpy as np

    a, b = np.asarray(a_correct, dtype=bool), np.asarray(b_correct, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise UsageError(
            f"a paired test needs predictions of the same images, not of {a.size} and {b.size} images",
            hint="compare records of the same dataset and --limit",
        )
    return int((a & ~b).sum()), int((b & ~a).sum()), a.size


def holm(p_values: Sequence[float]) -> list[float]:
    """Computes Holm's adjusted p-values. Those below alpha are significant at a family-wise error rate of alpha.

    Args:
        p_values: The p-values of all tests that are made together, each from 0 to 1.

    Returns:
        The adjusted values in the same order, each between its p-value and 1.

    Raises:
        ValueError: A p-value is not from 0 to 1.

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
    """Groups consecutive rows of a ranking that do not differ significantly from the first row of their group.

    A row joins the group above it if its difference to the first row of that group is not significant; otherwise it
    starts the next group. Each row is compared with the first row of the group, and not with the row above, so that a
    long chain of small differences does not tie the best row with the last.

    Args:
        rows: Number of rows, ranked from the best.
        p_value: p-value of the paired test of rows ``i`` and ``j``, both counted from 0, ``i < j``.
        alpha: Two rows with a p-value below this differ significantly.

    Returns:
        The number of the group of each row, from 1, in ascending order.
    """
    groups: list[int] = []
    first = 0
    for row in range(rows):
        if not groups:
            groups.append(1)
        elif p_value(first, row) >= alpha:
            groups.append(groups[-1])
        else:
            first = row
            groups.append(groups[-1] + 1)
    return groups
