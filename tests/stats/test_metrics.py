"""Metrics against scikit-learn, and against a reference in plain Python for ties and classes without a candidate."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, top_k_accuracy_score

from probebench.stats.metrics import (
    METRICS,
    all_metrics,
    calibration_error,
    confusion,
    mean_per_class,
    per_class,
    predictions,
    top1,
    top_k,
)
from probebench.util.errors import PluginError

INF = math.inf


@st.composite
def scored(draw):
    """Generates scores of few different values, so with many ties, and with at least one candidate for each image."""
    n, classes = draw(st.integers(1, 8)), draw(st.integers(1, 7))
    value = st.sampled_from([-INF, -1.0, 0.0, 0.5, 2.0])
    rows = draw(st.lists(st.lists(value, min_size=classes, max_size=classes), min_size=n, max_size=n))
    for row in rows:
        row[draw(st.integers(0, classes - 1))] = 0.0
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    return rows, labels


def reference_top_k(rows, labels, k):
    hits = 0
    for row, label in zip(rows, labels, strict=True):
        order = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits += label in [c for c in order[:k] if row[c] > -INF]
    return hits / len(labels)


@given(scored(), st.integers(1, 9))
def test_top_k_is_stable_and_credits_candidates_only(case, k):
    rows, labels = case
    assert top_k(torch.tensor(rows), torch.tensor(labels), k) == reference_top_k(rows, labels, k)


@given(scored())
def test_top_1_is_the_share_of_right_predictions(case):
    scores, labels = torch.tensor(case[0]), torch.tensor(case[1])
    predicted = predictions(scores)
    assert predicted.dtype == torch.int64
    assert top1(scores, labels) == METRICS["top1"](scores, labels)
    assert top1(scores, labels) == pytest.approx(float((predicted == labels).double().mean()))


@given(scored())
def test_top_k_does_not_fall_with_k(case):
    scores, labels = torch.tensor(case[0]), torch.tensor(case[1])
    values = [top_k(scores, labels, k) for k in range(1, 9)]
    assert values == sorted(values)


def test_metrics_equal_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(500, 7, generator=generator)
    labels = torch.randint(0, 7, (500,), generator=generator)
    for k in (1, 3, 5):
        assert top_k(scores, labels, k) == pytest.approx(top_k_accuracy_score(labels, scores, k=k))
    assert mean_per_class(scores, labels) == pytest.approx(balanced_accuracy_score(labels, predictions(scores)))


def test_a_class_without_a_vote_gets_no_top_5_credit():
    # All neighbours vote for class 7: a naive top-5 would count classes 0 to 3 as correct, which have no votes.
    scores = torch.full((10, 10), -INF)
    scores[:, 7] = 1.0
    assert top_k(scores, torch.arange(10), 5) == 0.1


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_top_5_of_fewer_classes_is_every_candidate(classes):
    labels = torch.arange(classes)
    assert top_k(torch.zeros(classes, classes), labels, 5) == 1.0
    only_first = torch.full((classes, classes), -INF)
    only_first[:, 0] = 0.0
    assert top_k(only_first, labels, 5) == 1 / classes


def test_mean_per_class_weights_classes_equally_and_skips_absent_ones():
    scores = torch.zeros(10, 4)
    scores[:, 1] = 1.0
    labels = torch.tensor([1] * 9 + [3])
    assert top1(scores, labels) == 0.9
    assert mean_per_class(scores, labels) == METRICS["mean_per_class"](scores, labels) == 0.5
    assert per_class(scores, labels) == [None, 1.0, None, 0.0]


def test_all_metrics_of_a_record():
    scores = torch.tensor([[5.0, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [5, 4, 3, 2, 1, 0]])
    assert all_metrics(scores, torch.tensor([0, 5, 2, 5])) == {
        "top1": 0.5,
        "top3": 0.75,
        "top5": 0.75,
        "mean_per_class": pytest.approx((1 + 0 + 0.5) / 3),
        "per_class": [1.0, None, 0.0, None, None, 0.5],
    }


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (
            torch.zeros(2),
            torch.zeros(2, dtype=torch.int64),
            r"the scores have the shape \(2,\)\n.*try: return scores of shape",
        ),
        (
            torch.zeros(2, 3),
            torch.zeros(3, dtype=torch.int64),
            r"the scores have the shape \(2, 3\), and there are 3 labels",
        ),
        (torch.zeros(1, 3), torch.tensor([3]), "labels range from 3 to 3, but scores have 3 classes"),
        (torch.zeros(1, 3), torch.tensor([-1]), "labels range from -1"),
        (torch.tensor([[0.0, 1], [math.nan, 1]]), torch.tensor([0, 1]), "the scores of image 1 contain NaN"),
        (torch.tensor([[0.0, 1], [-INF, -INF]]), torch.tensor([0, 1]), "all scores of image 1 are minus infinity"),
    ],
)
def test_scores_that_break_the_contract_are_an_error(scores, labels, message):
    with pytest.raises(PluginError, match=message) as caught:
        all_metrics(scores, labels)
    assert "try: " in str(caught.value)


def test_no_images_and_k_below_1_are_errors_of_the_caller():
    with pytest.raises(ValueError, match="no images"):
        top1(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="k is 0, but must be 1 or more"):
        top_k(torch.zeros(1, 3), torch.tensor([0]), 0)


def logits(probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_calibration_error_counted_by_hand():
    # Two bins. The first holds a wrong image of confidence .5, which is its upper edge; the second three, of .6, .8
    # and 1.0, two of them right: |0 - .5| / 4 + |2 - 2.4| / 4.
    scores = logits([[0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.8, 0.1, 0.1], [0.0, 0.0, 1.0]])
    assert calibration_error(scores, torch.tensor([1, 1, 1, 2]), bins=2) == pytest.approx((0.5 + 0.4) / 4)


def test_calibration_error_of_equal_probabilities():
    scores = torch.zeros(10, 2)
    assert calibration_error(scores, torch.tensor([0, 1] * 5)) == pytest.approx(0)
    assert calibration_error(scores, torch.tensor([1] * 10)) == pytest.approx(0.5)


@given(scored(), st.integers(1, 20))
def test_calibration_error_is_that_of_the_definition(case, bins):
    rows, labels = case
    n, total = len(rows), 0.0
    confidences, right = [], []
    for row, label in zip(rows, labels, strict=True):
        shares = [math.exp(value) for value in row]
        confidences.append(max(shares) / sum(shares))
        right.append(max(range(len(row)), key=lambda c: (row[c], -c)) == label)
    # math.fsum of equal shares can lie next to an edge: the reference decides it as the definition does in floats.
    torch_confidences = torch.tensor(rows, dtype=torch.float64).softmax(1).amax(1).tolist()
    assert torch_confidences == pytest.approx(confidences)
    for m in range(1, bins + 1):
        edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64).tolist()
        inside = [i for i, c in enumerate(torch_confidences) if edges[m - 1] < c <= edges[m]]
        total += abs(sum(right[i] for i in inside) - sum(torch_confidences[i] for i in inside)) / n
    assert calibration_error(torch.tensor(rows), torch.tensor(labels), bins=bins) == pytest.approx(total)


def test_an_infinite_logit_is_refused_by_name():
    scores = torch.tensor([[0.0, 1.0], [INF, 0.0]])
    with pytest.raises(PluginError, match="the logits of image 1 contain plus infinity"):
        calibration_error(scores, torch.tensor([0, 0]))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_confusion_equals_scikit_learn(pairs):
    predicted, labels = (list(column) for column in zip(*pairs, strict=True))
    found = confusion(torch.tensor(predicted), torch.tensor(labels), 6)
    assert found.tolist() == confusion_matrix(labels, predicted, labels=range(6)).tolist()
