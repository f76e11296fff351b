"""`probebench compare`."""

from __future__ import annotations

import re

import pytest

from probebench.stats.significance import mcnemar


@pytest.fixture
def compare(cli):
    def lines(*paths):
        answer = cli("compare", *map(str, paths))
        assert (answer.code, answer.err) == (0, "")
        return answer.out.splitlines()

    return lines


def verdict(lines):
    """Returns the parts of the last line, without the interval of the difference, which must hold the difference."""
    first, *others = lines[-1].split("; ")
    match = re.fullmatch(r"(.*?([+-]?\d+\.\d) points) \(([+-]?\d+\.\d) to ([+-]?\d+\.\d)\)", first)
    value, low, high = map(float, match.groups()[1:])
    assert low < value < high
    return [match[1], *others]


def test_json_has_counts_and_results(cli, save_record, images):
    one, other = images(range(120)), images(range(20, 130))
    paths = [str(save_record("first", correct=one)), str(save_record("second", correct=other))]
    document = cli("compare", *paths, "--json").json
    assert document["a"] == {"record": paths[0], "backbone": "first", "probe": "knn", "seed": 0}
    counts = {"both_right": 100, "only_a": 20, "only_b": 10, "both_wrong": 70, "n": 200}
    assert {name: document[name] for name in counts} == counts
    assert document["difference"] == pytest.approx(0.05)
    assert document["p"] == pytest.approx(mcnemar(one, other))
    assert set(document) == {"a", "b", *counts, "low", "high", "p", "difference"}


def test_the_table_and_the_verdict(compare, save_record, images):
    lines = compare(save_record("first", correct=images(150)), save_record("second", correct=images(100)))
    assert lines[:3] == [
        "scattered-digits: top-1 in percent on 200 test images, with 95 % interval "
        "(of the difference: paired bootstrap)",
        "A  first   knn  seed 0  75.0 (68.6 to 80.5)",
        "B  second  knn  seed 0  50.0 (43.1 to 56.9)",
    ]
    assert lines[-4:-2] == ["A right        100         50", "A wrong          0         50"]
    assert verdict(lines) == ["A is better by 25.0 points", "exact McNemar p < 0.001", "50 images against 0"]


def test_the_better_record_is_named_whatever_the_order(compare, save_record, images):
    worse, better = images(range(30)), images(range(18, 72))
    a, b = save_record("worse", correct=worse), save_record("better", correct=better)
    others = [f"exact McNemar p = {mcnemar(worse, better):.3f}", "42 images against 18"]
    assert verdict(compare(a, b)) == ["B is better by 12.0 points", *others]
    assert verdict(compare(b, a)) == ["A is better by 12.0 points", *others]


def test_records_that_cannot_be_told_apart(compare, save_record, images):
    a, b = save_record("first", correct=images(100)), save_record("second", correct=images(101))
    assert compare(a, b)[-1] == (
        "A and B cannot be told apart: A - B = -0.5 points (-1.5 to +0.0); exact McNemar p = 1.000; "
        "1 of 200 images decides (0 for A, 1 for B)"
    )
    assert compare(a, a)[-1].endswith("0 of 200 images decide (0 for A, 0 for B)")
