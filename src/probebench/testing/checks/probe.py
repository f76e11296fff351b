"""The laws of a probe: what it accepts, and what its trials and scores look like."""

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
from probebench.testing.checks.contract import Build, CheckList, ConformanceError, demand
from probebench.testing.samples import clusters, joined, same_rows
from probebench.testing.side_effects import without_random_state

if TYPE_CHECKING:
    from collections.abc import Iterator

probe_check = CheckList("probe")


@contextmanager
def _notes_allowed() -> Iterator[None]:
    """A probe may warn, for instance that k was clamped, also where warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)
        yield


def usable_top1(scores: Tensor, labels: Tensor) -> float:
    """The metric that probes are checked with: demands that scores can be used before it looks at them."""
    _demand_usable(scores, "in search()")
    return top1(scores, labels)


def _demand_usable(scores: Tensor, what: str) -> None:
    broken = scores.isnan() | (scores == math.inf)
    demand(not broken.any(), f"{what}: scores hold NaN or +inf", hint="compute in float32 or wider, guard divisions")
    hopeless = int((scores == -math.inf).all(1).sum())
    demand(not hopeless, f"{what}: {hopeless} images have no candidate class", hint="give some class a finite score")


def search(probe: Probe, train: Features, val: Features, *, metric: Metric = usable_top1, seed: int = 0) -> list[Trial]:
    """The probe's trials."""
    with _notes_allowed():
        return list(probe.search(train, val, metric=metric, seed=seed))


def fit(probe: Probe, train: Features, val: Features, *, seed: int = 0) -> Fitted:
    """The probe as the core fits it: the first best setting, on train and val together."""
    trials = search(probe, train, val, seed=seed)
    demand(bool(trials), "search() gives no trial", hint="give one trial per setting, and at least one")
    best = max(trials, key=lambda trial: trial.value)
    with _notes_allowed():
        return probe.fit(joined(train, val), best.params, seed=seed)


def scores_of(fitted: Fitted, test: Features, what: str) -> Tensor:
    """Class scores; demands that they can be used."""
    with _notes_allowed():
        scores = fitted.scores(test.vectors)
    shape = (len(test.labels), test.classes)
    demand(
        tuple(scores.shape) == shape and scores.dtype == torch.float32,
        f"{what}: scores are {scores.dtype} {tuple(scores.shape)}, not float32 {shape}",
        hint="give one column per class of the dataset, also for classes without a train image",
    )
    _demand_usable(scores, what)
    demand(not scores.requires_grad, f"{what}: scores carry a gradient", hint="put @torch.no_grad() on scores()")
    return scores


def accuracy(build: Build[Probe], train: Features, val: Features, test: Features, what: str) -> float:
    """Test accuracy of a fresh probe."""
    return top1(scores_of(fit(build(), train, val), test, what), test.labels)


@probe_check
def search_gives_usable_trials(build: Build[Probe]) -> None:
    """search() gives one trial or more, with values from 0 to 1 and settings that survive JSON."""
    trials = search(build(), clusters(20), clusters(5, seed=1))
    demand(bool(trials), "search() gives no trial", hint="give one trial per setting, and at least one")
    for trial in trials:
        fine = math.isfinite(trial.value) and 0 <= trial.value <= 1
        demand(fine, f"a trial has the value {trial.value}", hint="give the metric on val, from 0 to 1")
        hint = "use str, int, finite float, bool or None: they are written to the record"
        try:
            survives = json.loads(json.dumps(dict(trial.params), allow_nan=False)) == dict(trial.params)
        except (TypeError, ValueError) as error:
            raise ConformanceError(f"params {dict(trial.params)} are not JSON ({error}); {hint}") from error
        flat = all(value is None or isinstance(value, str | int | float) for value in trial.params.values())
        demand(survives and flat, f"params {dict(trial.params)} change when written as JSON", hint=hint)


@probe_check
def search_measures_on_val(build: Build[Probe]) -> None:
    """Every trial's value is what the given metric says about the labels of val."""
    val = clusters(7, seed=1, spread=1.5)
    said: list[float] = []

    def metric(scores: Tensor, labels: Tensor) -> float:
        demand(
            labels.shape == val.labels.shape and torch.equal(labels, val.labels),
            "search() measures on other labels than those of val",
            hint="call metric(scores of val, val.labels)",
        )
        said.append(top1(scores, labels) * 0.5)  # half of it, so that nobody can have computed it without asking
        return said[-1]

    for trial in search(build(), clusters(20, spread=1.5), val, metric=metric):
        demand(
            any(math.isclose(trial.value, value, abs_tol=1e-6) for value in said),
            f"the value {trial.value} did not come from the metric",
            hint="give metric(scores of val, val.labels), the dataset's primary metric",
        )


def _share_of_truth(scores: Tensor, labels: Tensor) -> float:
    """A metric without steps, so that any difference between two fits is seen: the mean share of the right class."""
    _demand_usable(scores, "in search_many()")
    return float(scores.softmax(1).gather(1, labels[:, None]).double().mean())


@probe_check
def other_points_do_not_matter(build: Build[Probe]) -> None:
    """search_many() gives each point the trials that search() gives it, whatever other points are in the call."""
    sizes = ((0, 16, 1.5), (10, 24, 1.0), (20, 16, 0.8), (30, 16, 2.0))  # seed, width and spread of each point
    points = [
        (clusters(20, dim=dim, seed=seed, spread=spread), clusters(7, dim=dim, seed=seed + 1, spread=spread))
        for seed, dim, spread in sizes
    ]
    alone = [search(build(), train, val, metric=_share_of_truth) for train, val in points]
    hint = "fit each point on its own features only, and give the trials in the order of the points"
    for order in ((0, 1, 2, 3), (2, 1, 0)):
        with _notes_allowed():
            chosen = [points[number] for number in order]
            together = [list(trials) for trials in build().search_many(chosen, metric=_share_of_truth, seed=0)]
        demand(len(together) == len(order), f"trials of {len(together)} points, not {len(order)}", hint=hint)
        for number, trials in zip(order, together, strict=True):
            what = f"point {number} among points {order}"
            settings = [dict(trial.params) for trial in trials] == [dict(trial.params) for trial in alone[number]]
            demand(settings, f"{what} is tried with other settings than alone", hint=hint)
            for got, expected in zip(trials, alone[number], strict=True):
                same = math.isclose(got.value, expected.value, rel_tol=1e-4, abs_tol=1e-6)
                demand(same, f"{what} reaches {got.value:.6f}, and alone {expected.value:.6f}", hint=hint)


@probe_check
def fit_takes_every_trial(build: Build[Probe]) -> None:
    """fit() can fit the setting of any trial, read back from JSON, in a fresh probe."""
    train, val = clusters(20), clusters(5, seed=1)
    for trial in search(build(), train, val):
        params = json.loads(json.dumps(dict(trial.params)))
        with _notes_allowed():
            try:
                fitted = build().fit(train, params, seed=0)
            except Exception as error:
                raise ConformanceError(
                    f"fit() with {params} raises {type(error).__name__}: {error}; "
                    "put everything that fit() needs in Trial.params, and nothing in self"
                ) from error
        scores_of(fitted, val, f"with {params}")


@probe_check
def scores_are_usable(build: Build[Probe]) -> None:
    """Scores are float32 (N, C) without NaN or gradient, and leave every image a candidate class."""
    train, val = clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5)
    scores_of(fit(build(), train, val), clusters(20, seed=2, spread=3.0), "on overlapping clusters")
    scores_of(fit(build(), train, val), train, "on the train images themselves")


@probe_check
def other_test_images_do_not_matter(build: Build[Probe]) -> None:
    """The scores of an image are the same when it is scored alone or in another order."""
    test = clusters(4, seed=2, spread=1.5)
    fitted = fit(build(), clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5))
    together = scores_of(fitted, test, "together")
    alone = torch.cat([fitted.scores(row[None]) for row in test.vectors])
    reverse = fitted.scores(test.vectors.flip(0)).flip(0)
    hint = "take means and scales from train, never from the images to be scored"
    for got, what in ((alone, "scores of images one by one"), (reverse, "scores of images in reverse order")):
        candidates = (got == -math.inf).equal(together == -math.inf)
        demand(candidates, f"{what} have other candidate classes", hint=hint)
        # Softmax and squared distances amplify rounding: one digit less than for features.
        finite = together.isfinite()
        same_rows(got.where(finite, 0), together.where(finite, 0), what, tolerance=1e-4, hint=hint)


@probe_check
def one_seed_gives_one_result(build: Build[Probe]) -> None:
    """Two probes with one seed give identical trials and scores."""
    train, val, test = clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5), clusters(9, seed=2, spread=1.5)
    hint = "draw everything random from torch.Generator().manual_seed(seed)"
    first, second = (search(build(), train, val, seed=3) for _ in range(2))
    demand(first == second, "a second search() gives other trials", hint=hint)
    one, other = (fit(build(), train, val, seed=3).scores(test.vectors) for _ in range(2))
    demand(torch.equal(one, other), "a second fit() gives other scores", hint=hint)


@probe_check
def fits_share_no_state(build: Build[Probe]) -> None:
    """A fitted probe keeps its scores when the same probe is tuned and fitted on other features."""
    probe = build()
    train, val, test = clusters(20), clusters(5, seed=1), clusters(5, seed=2)
    fitted = fit(probe, train, val)
    before = fitted.scores(test.vectors).clone()
    fit(probe, clusters(9, classes=4, dim=8), clusters(5, classes=4, dim=8, seed=1))
    hint = "keep what was fitted in the object that fit() returns, not in the probe"
    demand(torch.equal(fitted.scores(test.vectors), before), "a later fit() changes an earlier one", hint=hint)


@probe_check
def inputs_are_not_modified(build: Build[Probe]) -> None:
    """search(), fit() and scores() leave features and labels as they were."""
    train, val, test = clusters(20), clusters(5, seed=1), clusters(5, seed=2)
    watched = [part for features in (train, val, test) for part in (features.vectors, features.labels)]
    before = [part.clone() for part in watched]
    probe = build()
    params = search(probe, train, val)[0].params
    with _notes_allowed():
        probe.fit(train, params, seed=0).scores(test.vectors)
    changed = [not torch.equal(part, kept) for part, kept in zip(watched, before, strict=True)]
    names = ("train vectors", "train labels", "val vectors", "val labels", "test vectors", "test labels")
    written = [name for name, is_changed in zip(names, changed, strict=True) if is_changed]
    demand(not written, f"the probe writes to the {written}", hint="normalise a copy: no in-place operation")


@probe_check
def random_state_is_untouched(build: Build[Probe]) -> None:
    """Tuning, fitting and scoring neither change nor read the global random state of torch, numpy or random."""
    train, val, test = clusters(20, spread=1.5), clusters(5, seed=1, spread=1.5), clusters(5, seed=2, spread=1.5)

    def work() -> Tensor:
        return fit(build(), train, val).scores(test.vectors)

    without_random_state(work, torch.equal)
