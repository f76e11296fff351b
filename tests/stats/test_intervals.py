"""Intervals, the paired test and tie groups against closed forms and exact enumeration."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from probebench.stats.intervals import paired_bootstrap, t_interval, wilson
from probebench.stats.significance import holm, mcnemar, tie_groups
from probebench.util.errors import UsageError

Z95 = 1.959963984540054


@st.composite
def counts(draw):
    n = draw(st.integers(1, 50_000))
    return draw(st.integers(0, n)), n


class TestWilson:
    @given(counts())
    def test_ends_solve_the_score_equation(self, count):
        correct, n = count
        for end in wilson(correct, n):
            assert (correct / n - end) ** 2 == pytest.approx(Z95**2 * end * (1 - end) / n, abs=1e-12)

    @given(counts())
    def test_holds_the_proportion_within_0_and_1(self, count):
        low, high = wilson(*count)
        assert 0 <= low <= count[0] / count[1] <= high <= 1
        assert low < high

    @given(counts())
    def test_counting_failures_mirrors_it(self, count):
        correct, n = count
        low, high = wilson(correct, n)
        assert wilson(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)

    def test_has_a_closed_form_at_both_ends(self):
        assert wilson(0, 10) == (0.0, pytest.approx(Z95**2 / (10 + Z95**2)))
        assert wilson(10, 10) == (pytest.approx(10 / (10 + Z95**2)), 1.0)

    def test_has_its_nominal_coverage(self):
        n, truths = 40, [i / 101 for i in range(1, 101)]
        intervals = [wilson(correct, n) for correct in range(n + 1)]
        coverage = [
            sum(
                math.comb(n, correct) * truth**correct * (1 - truth) ** (n - correct)
                for correct, (low, high) in enumerate(intervals)
                if low <= truth <= high
            )
            for truth in truths
        ]
        assert sum(coverage) / len(coverage) == pytest.approx(0.95, abs=0.01)

    def test_accepts_a_mean_of_seeds_and_another_confidence(self):
        assert wilson(50.5, 100)[0] > wilson(50, 100)[0]
        narrow, wide = wilson(50, 100, 0.8), wilson(50, 100, 0.99)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]

    @pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
    def test_refuses_impossible_counts(self, correct, n):
        with pytest.raises(ValueError, match=f"{correct} successes of {n} trials"):
            wilson(correct, n)

    @pytest.mark.parametrize("confidence", [0, 1, 95])
    def test_refuses_a_confidence_outside_0_and_1(self, confidence):
        with pytest.raises(ValueError, match="not between 0 and 1"):
            wilson(1, 2, confidence)


class TestTInterval:
    def test_two_values_have_a_closed_form(self):
        # With one degree of freedom t is Cauchy, whose quantile is a tangent.
        half = math.tan(math.pi * 0.95 / 2) * abs(0.5 - 0.7) / 2
        assert t_interval([0.5, 0.7]) == pytest.approx((0.6 - half, 0.6 + half))

    def test_three_values_have_a_closed_form(self):
        # With two degrees of freedom the quantile at p is (2p - 1) * sqrt(2 / (1 - (2p - 1)^2)).
        quantile = 0.9 * math.sqrt(2 / (1 - 0.9**2))
        assert t_interval([1.0, 2.0, 3.0], 0.9) == pytest.approx((2 - quantile / 3**0.5, 2 + quantile / 3**0.5))

    @given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9), st.floats(-1e3, 1e3), st.sampled_from([0.8, 0.95]))
    def test_moves_with_the_values(self, values, shift, confidence):
        low, high = t_interval(values, confidence)
        assert low <= sum(values) / len(values) + 1e-9
        moved = t_interval([value + shift for value in values], confidence)
        assert moved == pytest.approx((low + shift, high + shift), abs=1e-6)

    def test_equal_values_have_an_interval_of_width_0(self):
        assert t_interval([0.25, 0.25, 0.25]) == (0.25, 0.25)

    @pytest.mark.parametrize("values", [[], [0.5]])
    def test_one_value_has_no_interval(self, values):
        with pytest.raises(ValueError, match="two values or more"):
            t_interval(values)


def _rows(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b


class TestMcnemar:
    @given(st.integers(0, 5), st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
    def test_is_the_sum_over_outcomes_as_unlikely(self, both, only_a, only_b, neither):
        n = only_a + only_b
        likely = math.comb(n, only_a)
        expected = Fraction(sum(c for c in (math.comb(n, i) for i in range(n + 1)) if c <= likely), 2**n)
        assert mcnemar(*_rows(both, only_a, only_b, neither)) == pytest.approx(float(expected), rel=1e-12)

    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
    def test_does_not_depend_on_sides_or_order(self, pairs):
        a, b = zip(*pairs, strict=True)
        assert mcnemar(a, b) == mcnemar(b, a) == mcnemar(a[::-1], b[::-1])

    def test_equal_rows_have_p_value_1(self):
        assert mcnemar([True, False], [True, False]) == 1.0

    @pytest.mark.parametrize(("only_a", "only_b"), [(3000, 2000), (2551, 2449), (1, 900), (25_000, 24_800)])
    def test_many_images_give_what_scipy_gives(self, only_a, only_b):
        expected = binomtest(only_a, only_a + only_b).pvalue
        assert 0 < mcnemar(*_rows(7, only_a, only_b, 5)) == pytest.approx(expected, rel=1e-8)

    def test_other_images_cannot_be_compared(self):
        with pytest.raises(UsageError, match="predictions of the same images, not of 2 and 1 images") as caught:
            mcnemar([True, False], [True])
        assert "same dataset" in str(caught.value)


class TestTieGroups:
    def test_compares_with_the_first_row_of_the_group_and_not_with_the_row_above(self):
        # Each row is close to the next, but the third is far from the first.
        positions = [0, 1, 2, 3, 4]
        close = tie_groups(5, lambda i, j: 1.0 if abs(positions[i] - positions[j]) <= 1 else 0.01)
        assert close == [1, 1, 2, 2, 3]

    def test_tests_only_against_the_first_row_of_a_group(self):
        tested = []

        def p_value(i, j):
            tested.append((i, j))
            return 0.5 if j < 2 else 0.001

        assert tie_groups(4, p_value) == [1, 1, 2, 3]
        assert tested == [(0, 1), (0, 2), (2, 3)]

    def test_the_bound_itself_ties(self):
        assert tie_groups(2, lambda i, j: 0.05) == [1, 1]
        assert tie_groups(2, lambda i, j: 0.05, alpha=0.1) == [1, 2]

    def test_no_rows_no_groups(self):
        assert tie_groups(0, lambda i, j: 1.0) == []
        assert tie_groups(1, lambda i, j: 0.0) == [1]


class TestPairedBootstrap:
    def test_is_the_interval_of_resampled_images(self):
        a, b = (np.array(row) for row in _rows(120, 40, 20, 70))
        generator = np.random.default_rng(7)
        resampled = generator.integers(0, len(a), size=(20_000, len(a)))
        differences = a[resampled].mean(1) - b[resampled].mean(1)
        assert paired_bootstrap(a, b) == pytest.approx(np.quantile(differences, [0.025, 0.975]), abs=0.005)

    def test_approaches_the_normal_interval_of_a_paired_difference(self):
        only_a, only_b, n = 900, 700, 10_000
        low, high = paired_bootstrap(*_rows(6000, only_a, only_b, n - 6000 - only_a - only_b))
        difference = (only_a - only_b) / n
        half = 1.959964 * math.sqrt((only_a + only_b) / n - difference**2) / math.sqrt(n)
        assert (low, high) == pytest.approx((difference - half, difference + half), abs=2e-4)

    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
    def test_contains_the_difference_and_changes_sign_when_the_rows_are_swapped(self, pairs):
        a, b = zip(*pairs, strict=True)
        low, high = paired_bootstrap(a, b, resamples=2000)
        assert -1 <= low <= (sum(a) - sum(b)) / len(a) <= high <= 1
        swapped = paired_bootstrap(b, a, resamples=2000)
        assert swapped == pytest.approx((-high, -low), abs=3 / math.sqrt(len(a)) * 0.2 + 2 / len(a))

    def test_equal_rows_have_an_interval_of_width_0(self):
        assert paired_bootstrap([True, False], [True, False]) == (0.0, 0.0)

    def test_other_images_cannot_be_compared(self):
        with pytest.raises(UsageError, match="predictions of the same images"):
            paired_bootstrap([True], [True, False])
        with pytest.raises(UsageError, match="no predictions to compare"):
            paired_bootstrap([], [])


class TestHolm:
    def test_a_case_counted_by_hand(self):
        # Sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2 and 0.04 * 1, each at least the one before.
        assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])

    @given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.2))
    def test_rejects_what_the_sequential_procedure_rejects(self, p_values, alpha):
        rejected = set()
        for step, position in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[position] * (len(p_values) - step) > alpha:
                break
            rejected.add(position)
        assert {i for i, p in enumerate(holm(p_values)) if p <= alpha} == rejected

    def test_a_single_test_is_not_corrected(self):
        assert holm([0.03]) == [0.03]
        assert holm([]) == []

    def test_a_value_that_is_not_a_p_value_is_refused(self):
        with pytest.raises(ValueError, match="from 0 to 1"):
            holm([0.2, 1.2])
