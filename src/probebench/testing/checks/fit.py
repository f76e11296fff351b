"""How well a probe must do on features whose answer is known, and what odd training sets must not break."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probebench.api import Features, Probe
from probebench.testing.checks.contract import Build, demand
from probebench.testing.checks.probe import accuracy, fit, probe_check, scores_of
from probebench.testing.samples import clusters

_PERFECT = 0.99
_TRAIN, _VAL, _TEST = 200, 40, 40


def _scaled(features: Features, scale: float) -> Features:
    return Features(features.vectors * scale, features.labels, features.classes)


def _only(features: Features, rows: Tensor) -> Features:
    return Features(features.vectors[rows], features.labels[rows], features.classes)


def _demand_perfect(reached: float, what: str, hint: str) -> None:
    demand(reached >= _PERFECT, f"{what}: {reached:.1%} correct, not 99 % or more", hint=hint)


@probe_check
def separable_features_are_separated(build: Build[Probe]) -> None:
    """On clusters far apart, at least 99 % of the test images are right."""
    reached = accuracy(build, clusters(_TRAIN), clusters(_VAL, seed=1), clusters(_TEST, seed=2), "far clusters")
    _demand_perfect(reached, "clusters far apart", "check that label i is column i of the scores, and larger is better")


@probe_check
def random_features_give_chance(build: Build[Probe]) -> None:
    """On features without information the accuracy is 1 / C, within five standard deviations of a binomial."""
    classes, count = 4, 400

    def nothing(rows: int, seed: int) -> Features:
        vectors = torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))
        return Features(vectors, torch.arange(rows) % classes, classes)

    reached = accuracy(build, nothing(200, 10), nothing(80, 11), nothing(count, 12), "random features")
    chance = 1 / classes
    bound = 5 * math.sqrt(chance * (1 - chance) / count)
    demand(
        abs(reached - chance) <= bound,
        f"random features: {reached:.1%} correct, where chance is {chance:.1%} +- {bound:.1%}",
        hint="use nothing but the vectors: not their order, nor anything kept from an earlier fit",
    )


@probe_check
def train_order_does_not_matter(build: Build[Probe]) -> None:
    """Permuting the train images leaves at least 95 % of the predictions, as iterative fits need some room."""
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
        kept = float((got == expected).float().mean())
        demand(kept >= 0.95, f"{what} train keeps only {kept:.1%} of the predictions", hint="use all rows, and shuffle")


@probe_check
def one_image_per_class_is_enough(build: Build[Probe]) -> None:
    """A train set with one image per class, fewer than any usual k, is fitted and scored."""
    for classes in (2, 5):
        train, val = clusters(1, classes=classes), clusters(1, classes=classes, seed=1)
        scores_of(fit(build(), train, val), clusters(4, classes=classes, seed=2), f"{classes} train images")


@probe_check
def one_image_alone_is_enough(build: Build[Probe]) -> None:
    """Train, val and test sets of a single image are fitted and scored."""
    first = torch.tensor([0])
    train, val, test = (_only(clusters(1, seed=seed), first) for seed in (0, 1, 2))
    scores_of(fit(build(), train, val), test, "a single train image")


@probe_check
def two_classes_are_enough(build: Build[Probe]) -> None:
    """Two classes far apart are told apart."""
    train, val, test = (clusters(count, classes=2, seed=seed) for seed, count in enumerate((_TRAIN, _VAL, _TEST)))
    _demand_perfect(accuracy(build, train, val, test, "two classes"), "two classes", "give one column per class")


@probe_check
def class_absent_from_train_is_accepted(build: Build[Probe]) -> None:
    """A class without train images keeps its column, and the other classes are still told apart."""
    for absent in (1, 3):
        parts = zip((_TRAIN, _VAL, _TEST), range(3), strict=True)
        train, val, test = (clusters(count, classes=4, seed=seed, skip=(absent,)) for count, seed in parts)
        reached = accuracy(build, train, val, test, f"class {absent} absent")
        hint = "take the number of classes from Features.classes, never from the labels"
        _demand_perfect(reached, f"class {absent} of 4 absent from train", hint)


@probe_check
def class_absent_from_test_is_accepted(build: Build[Probe]) -> None:
    """A class without val and test images changes nothing for the others."""
    train = clusters(_TRAIN, classes=4)
    val, test = (clusters(_VAL, classes=4, seed=seed, skip=(3,)) for seed in (1, 2))
    reached = accuracy(build, train, val, test, "class 3 absent from val and test")
    hint = "take the number of classes from Features.classes, never from the labels"
    _demand_perfect(reached, "class 3 of 4 absent from val and test", hint)


@probe_check
def constant_features_are_accepted(build: Build[Probe]) -> None:
    """Features that never vary give usable scores; a few of them beside good ones do no harm."""
    parts = (clusters(_TRAIN), clusters(_VAL, seed=1), clusters(_TEST, seed=2))
    for value in (0.0, 1.0):
        train, val, test = (Features(torch.full_like(part.vectors, value), part.labels, part.classes) for part in parts)
        scores_of(fit(build(), train, val), test, f"all features {value}")
    train, val, test = (
        Features(torch.cat([part.vectors, torch.ones(len(part.labels), 3)], 1), part.labels, part.classes)
        for part in parts
    )
    reached = accuracy(build, train, val, test, "with three constant features")
    _demand_perfect(reached, "with three constant features", "divide by a standard deviation only where it is not 0")


@probe_check
def scale_does_not_break_it(build: Build[Probe]) -> None:
    """Features 10,000 times larger or smaller give usable scores."""
    parts = (clusters(_TRAIN), clusters(_VAL, seed=1), clusters(_TEST, seed=2))
    for scale in (1e4, 1e-4):
        train, val, test = (_scaled(part, scale) for part in parts)
        scores_of(fit(build(), train, val), test, f"features times {scale:g}")
