"""Paired tests of two rows, and rows that cannot be told apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike

ALPHA = 0.05
"""Two rows are told apart when the paired test's p-value is below this."""


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
    only_a, only_b, _ = discordant(a_correct, b_correct)
    n, successes = only_a + only_b, min(only_a, only_b)
    # The lower tail from its largest term down. scipy.special.bdtr gives the same, but takes 0.3 s to import.
    term, tail = math.comb(n, successes) / 2**n, 0.0
    while tail + term > tail:
        tail += term
        term *= successes / (n - successes + 1)
        successes -= 1
    return min(1.0, 2.0 * tail)


def discordant(a_correct: ArrayLike, b_correct: ArrayLike) -> tuple[int, int, int]:
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
