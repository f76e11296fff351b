"""Checks of the accuracy of a probe on features with a known answer, and of unusual training sets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probebench.api import Features, Probe
from probebench.testing.checks.contract import Build, require
from probebench.testing.checks.probe import accuracy, fit, probe_check, scores_of
from probebench.testing.samples import clusters

_PERFECT = 0.99
_TRAIN, _VAL, _TEST = 200, 40, 40


def _scaled(features: Features, scale: float) -> Features:
    return Features(features.vectors * scale, features.labels, features.classes)


def _only(features: Features, rows: Tensor) -> Features:
    return Features(features.vectors[rows], features.labels[rows], features.classes)


def _require_perfect(reached: float, what: str, hint: str) -> None:
    require(reached >= _PERFECT, f"{what}: {reached:.1%} correct, below 99 %", hint=hint)


@probe_check
def separable_features_are_separated(build: Build[Probe]) -> None:
    """On distant clusters, at least 99 % of the test images are classified correctly."""
    reached = accuracy(build, clusters(_TRAIN), clusters(_VAL, seed=1), clusters(_TEST, seed=2), "distant clusters")
    _require_perfect(
        reached, "clusters far apart", "check that label i is column i of the scores, and larger is better"
    )


@probe_check
def random_features_give_chance(build: Build[Probe]) -> None:
    """On features without information the accuracy is 1 / C, within five standard deviations of a binomial."""
    classes, count = 4, 400

    def noise(rows: int, seed: int) -> Features:
        vectors = torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))
        return Features(vectors, torch.arange(rows) % classes, classes)

    reached = accuracy(build, noise(200, 10), noise(80, 11), noise(count, 12), "random features")
    chance = 1 / classes
    bound = 5 * math.sqrt(chance * (1 - chance) / count)
    require(
        abs(reached - chance) <= bound,
        f"random features: {reached:.1%} correct, and chance is {chance:.1%} +- {bound:.1%}",
        hint="use only the vectors, and neither their order nor the state of an earlier fit",
    )


@probe_check
def train_order_does_not_matter(build: Build[Probe]) -> None:
    """Permuting the train images changes at most 5 % of the predictions, a tolerance for iterative fits."""
    train, val, test = (
        clusters(_TRAIN, spread=0.7),
        clusters(_VAL, seed=1, spread=0.7),
        clusters(100, seed=2, spread=0.7),
    )
    order = torch.randperm(len(train.labels), generator=torch.Generator().manual_seed(4))
    sorted_by_class = torch.argsort(train.labels, stable=True)
    expected = scores_of(fit(build(), train, val), test, "train in order").argmax(1)
    for rows, what in ((order, "permuting"), (sorted_by_class, "sorting by class")):
        got = scores_of(fit(build(), _only(train, rows), val), test, f"{what} train").argmax(1)
        unchanged = float((got == expected).float().mean())
        require(
            unchanged >= 0.95,
            f"{what} train leaves only {unchanged:.1%} of the predictions unchanged",
            hint="use all rows, and shuffle them",
        )


@probe_check
def one_image_per_class_is_enough(build: Build[Probe]) -> None:
    """A train set with one image for each class is fitted and scored."""
    for classes in (2, 5):
        train, val = clusters(1, classes=classes), clusters(1, classes=classes, seed=1)
        scores_of(fit(build(), train, val), clusters(4, classes=classes, seed=2), f"{classes} train images")


@probe_check
def one_image_is_enough(build: Build[Probe]) -> None:
    """Train, val and test sets of a single image are fitted and scored."""
    first = torch.tensor([0])
    train, val, test = (_only(clusters(1, seed=seed), first) for seed in (0, 1, 2))
    scores_of(fit(build(), train, val), test, "a single train image")


@probe_check
def two_classes_are_enough(build: Build[Probe]) -> None:
    """On two distant classes, at least 99 % of the test images are classified correctly."""
    train, val, test = (clusters(count, classes=2, seed=seed) for seed, count in enumerate((_TRAIN, _VAL, _TEST)))
    _require_perfect(
        accuracy(build, train, val, test, "two classes"), "two classes", "return one column for each class"
    )


@probe_check
def class_absent_from_train_is_accepted(build: Build[Probe]) -> None:
    """A class without train images has a column, and the other classes are still classified correctly."""
    for absent in (1, 3):
        parts = zip((_TRAIN, _VAL, _TEST), range(3), strict=True)
        train, val, test = (clusters(count, classes=4, seed=seed, skip=(absent,)) for count, seed in parts)
        reached = accuracy(build, train, val, test, f"class {absent} absent from train")
        hint = "use Features.classes as the number of classes, and not the labels"
        _require_perfect(reached, f"class {absent} of 4 absent from train", hint)


@probe_check
def class_absent_from_test_is_accepted(build: Build[Probe]) -> None:
    """A class without val and test images does not change the accuracy on the others."""
    train = clusters(_TRAIN, classes=4)
    val, test = (clusters(_VAL, classes=4, seed=seed, skip=(3,)) for seed in (1, 2))
    reached = accuracy(build, train, val, test, "class 3 absent from val and test")
    hint = "use Features.classes as the number of classes, and not the labels"
    _require_perfect(reached, "class 3 of 4 absent from val and test", hint)


@probe_check
def constant_features_are_accepted(build: Build[Probe]) -> None:
    """Constant features give valid scores, and a few of them do not change the accuracy."""
    parts = (clusters(_TRAIN), clusters(_VAL, seed=1), clusters(_TEST, seed=2))
    for value in (0.0, 1.0):
        train, val, test = (Features(torch.full_like(part.vectors, value), part.labels, part.classes) for part in parts)
        scores_of(fit(build(), train, val), test, f"all features {value}")
    train, val, test = (
        Features(torch.cat([part.vectors, torch.ones(len(part.labels), 3)], 1), part.labels, part.classes)
        for part in parts
    )
    reached = accuracy(build, train, val, test, "with three constant features")
    _require_perfect(reached, "with three constant features", "divide by a standard deviation only where it is not 0")


@probe_check
def extreme_scales_are_accepted(build: Build[Probe]) -> None:
    """Features that are 10,000 times larger or smaller give valid scores."""
    parts = (clusters(_TRAIN), clusters(_VAL, seed=1), clusters(_TEST, seed=2))
    for scale in (1e4, 1e-4):
        train, val, test = (_scaled(part, scale) for part in parts)
        scores_of(fit(build(), train, val), test, f"features times {scale:g}")
