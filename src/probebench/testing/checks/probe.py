"""Checks of a probe: its arguments, trials and scores."""

from __future__ import annotations

import json
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from probebench.api import Features, Fitted, Metric, Probe, ProbebenchWarning, Trial
from probebench.stats.metrics import top1
from probebench.testing.checks.contract import Build, CheckList, ConformanceError, require
from probebench.testing.samples import clusters, concatenate, require_same_rows
from probebench.testing.side_effects import require_no_global_random_state

if TYPE_CHECKING:
    from collections.abc import Iterator

probe_check = CheckList("probe")


@contextmanager
def _ignored_warnings() -> Iterator[None]:
    """Ignores warnings of probes, for example about a reduced k, also if pytest turns warnings into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)
        yield


def usable_top1(scores: Tensor, labels: Tensor) -> float:
    """Computes the top-1 accuracy, and raises an error if the scores are not valid."""
    _require_usable(scores, "in search()")
    return top1(scores, labels)


def _require_usable(scores: Tensor, what: str) -> None:
    broken = scores.isnan() | (scores == math.inf)
    require(
        not broken.any(),
        f"{what}: scores contain NaN or +inf",
        hint="compute in float32 or float64, and avoid division by zero",
    )
    without = int((scores == -math.inf).all(1).sum())
    require(
        not without,
        f"{what}: all scores of {without} images are minus infinity",
        hint="return a finite score for at least one class",
    )


def search(probe: Probe, train: Features, val: Features, *, metric: Metric = usable_top1, seed: int = 0) -> list[Trial]:
    """Returns the trials of a probe."""
    with _ignored_warnings():
        return list(probe.search(train, val, metric=metric, seed=seed))


def fit(probe: Probe, train: Features, val: Features, *, seed: int = 0) -> Fitted:
    """Fits a probe as the core does: with the first best setting, on train and val together."""
    trials = search(probe, train, val, seed=seed)
    require(bool(trials), "search() returns no trial", hint="return at least one trial, one for each setting")
    best = max(trials, key=lambda trial: trial.value)
    with _ignored_warnings():
        return probe.fit(concatenate(train, val), best.params, seed=seed)


def scores_of(fitted: Fitted, test: Features, what: str) -> Tensor:
    """Returns class scores, and raises an error if they are not valid."""
    with _ignored_warnings():
        scores = fitted.scores(test.vectors)
    shape = (len(test.labels), test.classes)
    require(
        tuple(scores.shape) == shape and scores.dtype == torch.float32,
        f"{what}: scores are {scores.dtype} {tuple(scores.shape)}, not float32 {shape}",
        hint="return one column for each class of the dataset, also for classes without train images",
    )
    _require_usable(scores, what)
    require(not scores.requires_grad, f"{what}: scores have a gradient", hint="decorate scores() with @torch.no_grad()")
    return scores


def accuracy(build: Build[Probe], train: Features, val: Features, test: Features, what: str) -> float:
    """Returns the test accuracy of a new probe."""
    return top1(scores_of(fit(build(), train, val), test, what), test.labels)


@probe_check
def search_gives_usable_trials(build: Build[Probe]) -> None:
    """search() returns one trial or more, with values from 0 to 1 and settings that JSON preserves."""
    trials = search(build(), clusters(20), clusters(5, seed=1))
    require(bool(trials), "search() returns no trial", hint="return at least one trial, one for each setting")
    for trial in trials:
        fine = math.isfinite(trial.value) and 0 <= trial.value <= 1
        require(fine, f"a trial has the value {trial.value}", hint="return the metric on val, from 0 to 1")
        hint = "use str, int, finite float, bool or None: they are written to the record"
        try:
            survives = json.loads(json.dumps(dict(trial.params), allow_nan=False)) == dict(trial.params)
        except (TypeError, ValueError) as error:
            raise ConformanceError(f"params {dict(trial.params)} are not JSON ({error}); {hint}") from error
        flat = all(value is None or isinstance(value, str | int | float) for value in trial.params.values())
        require(survives and flat, f"params {dict(trial.params)} change when written as JSON", hint=hint)


@probe_check
def search_measures_on_val(build: Build[Probe]) -> None:
    """The value of every trial is the given metric on val."""
    val = clusters(7, seed=1, spread=1.5)
    reported: list[float] = []

    def metric(scores: Tensor, labels: Tensor) -> float:
        require(
            labels.shape == val.labels.shape and torch.equal(labels, val.labels),
            "search() measures on other labels than those of val",
            hint="call metric(scores of val, val.labels)",
        )
        reported.append(top1(scores, labels) * 0.5)  # half of it, so that it differs from the plain accuracy
        return reported[-1]

    for trial in search(build(), clusters(20, spread=1.5), val, metric=metric):
        require(
            any(math.isclose(trial.value, value, abs_tol=1e-6) for value in reported),
            f"the value {trial.value} is not the given metric on val",
            hint="return metric(scores of val, val.labels)",
        )


def _mean_probability(scores: Tensor, labels: Tensor) -> float:
    """Computes the mean probability of the true class, a continuous metric that shows small differences of fits."""
    _require_usable(scores, "in search_many()")
    return float(scores.softmax(1).gather(1, labels[:, None]).double().mean())


@probe_check
def other_points_do_not_matter(build: Build[Probe]) -> None:
    """search_many() returns for each point the trials of search(), for any other points in the call."""
    sizes = ((0, 16, 1.5), (10, 24, 1.0), (20, 16, 0.8), (30, 16, 2.0))  # seed, width and spread of each point
    points = [
        (clusters(20, dim=dim, seed=seed, spread=spread), clusters(7, dim=dim, seed=seed + 1, spread=spread))
        for seed, dim, spread in sizes
    ]
    alone = [search(build(), train, val, metric=_mean_probability) for train, val in points]
    hint = "fit each point only on its features, and return the trials in the order of the points"
    for order in ((0, 1, 2, 3), (2, 1, 0)):
        with _ignored_warnings():
            selected = [points[number] for number in order]
            together = [list(trials) for trials in build().search_many(selected, metric=_mean_probability, seed=0)]
        require(len(together) == len(order), f"trials of {len(together)} points, not {len(order)}", hint=hint)
        for number, trials in zip(order, together, strict=True):
            what = f"point {number} among points {order}"
            settings = [dict(trial.params) for trial in trials] == [dict(trial.params) for trial in alone[number]]
            require(settings, f"{what} has other settings than alone", hint=hint)
            for got, expected in zip(trials, alone[number], strict=True):
                same = math.isclose(got.value, expected.value, rel_tol=1e-4, abs_tol=1e-6)
                require(same, f"{what} has the value {got.value:.6f}, and alone {expected.value:.6f}", hint=hint)


@probe_check
def every_trial_can_be_fitted(build: Build[Probe]) -> None:
    """A new probe can fit the setting of any trial, read from JSON."""
    train, val = clusters(20), clusters(5, seed=1)
    for trial in search(build(), train, val):
        params = json.loads(json.dumps(dict(trial.params)))
        with _ignored_warnings():
            try:
                fitted = build().fit(train, params, seed=0)
            except Exception as error:
                raise ConformanceError(
                    f"fit() with {params} raises {type(error).__name__}: {error}; "
                    "store all settings of fit() in Trial.params, and none in self"
                ) from error
        scores_of(fitted, val, f"with {params}")


@probe_check
def scores_are_usable(build: Build[Probe]) -> None:
    """Scores are float32 (N, C) without NaN or gradient, with a finite score for every image."""
    train, val = clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5)
    scores_of(fit(build(), train, val), clusters(20, seed=2, spread=3.0), "on overlapping clusters")
    scores_of(fit(build(), train, val), train, "on the train images themselves")


@probe_check
def other_test_images_do_not_matter(build: Build[Probe]) -> None:
    """The scores of an image do not depend on the other images that are scored with it, and on their order."""
    test = clusters(4, seed=2, spread=1.5)
    fitted = fit(build(), clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5))
    together = scores_of(fitted, test, "together")
    alone = torch.cat([fitted.scores(row[None]) for row in test.vectors])
    reverse = fitted.scores(test.vectors.flip(0)).flip(0)
    hint = "compute means and scales on train, and not on the scored images"
    for got, what in ((alone, "scores of images one by one"), (reverse, "scores of images in reverse order")):
        candidates = (got == -math.inf).equal(together == -math.inf)
        require(candidates, f"{what} have other candidate classes", hint=hint)
        # Softmax and squared distances amplify rounding errors, so the tolerance is larger than for features.
        finite = together.isfinite()
        require_same_rows(got.where(finite, 0), together.where(finite, 0), what, tolerance=1e-4, hint=hint)


@probe_check
def one_seed_gives_one_result(build: Build[Probe]) -> None:
    """Two probes with one seed return identical trials and scores."""
    train, val, test = clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5), clusters(9, seed=2, spread=1.5)
    hint = "generate all random numbers with torch.Generator().manual_seed(seed)"
    first, second = (search(build(), train, val, seed=3) for _ in range(2))
    require(first == second, "a second search() returns other trials", hint=hint)
    one, other = (fit(build(), train, val, seed=3).scores(test.vectors) for _ in range(2))
    require(torch.equal(one, other), "a second fit() returns other scores", hint=hint)


@probe_check
def fits_share_no_state(build: Build[Probe]) -> None:
    """The scores of a fitted probe do not change when the probe is fitted on other features."""
    probe = build()
    train, val, test = clusters(20), clusters(5, seed=1), clusters(5, seed=2)
    fitted = fit(probe, train, val)
    before = fitted.scores(test.vectors).clone()
    fit(probe, clusters(9, classes=4, dim=8), clusters(5, classes=4, dim=8, seed=1))
    hint = "store fitted values in the object that fit() returns, not in the probe"
    require(
        torch.equal(fitted.scores(test.vectors), before),
        "a later fit() changes the scores of an earlier one",
        hint=hint,
    )


@probe_check
def inputs_are_not_modified(build: Build[Probe]) -> None:
    """search(), fit() and scores() do not change features and labels."""
    train, val, test = clusters(20), clusters(5, seed=1), clusters(5, seed=2)
    tensors = [part for features in (train, val, test) for part in (features.vectors, features.labels)]
    before = [part.clone() for part in tensors]
    probe = build()
    params = search(probe, train, val)[0].params
    with _ignored_warnings():
        probe.fit(train, params, seed=0).scores(test.vectors)
    changed = [not torch.equal(part, copy) for part, copy in zip(tensors, before, strict=True)]
    names = ("train vectors", "train labels", "val vectors", "val labels", "test vectors", "test labels")
    written = [name for name, is_changed in zip(names, changed, strict=True) if is_changed]
    require(not written, f"the probe changes the {written}", hint="normalise a copy, and use no in-place operation")


@probe_check
def random_state_is_untouched(build: Build[Probe]) -> None:
    """search(), fit() and scores() neither change nor read the global random state of torch, numpy or random."""
    train, val, test = clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5), clusters(5, seed=2, spread=1.5)

    def work() -> Tensor:
        return fit(build(), train, val).scores(test.vectors)

    require_no_global_random_state(work, torch.equal)
