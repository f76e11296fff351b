"""`logreg` against scikit-learn's optimum, and failures of other tools."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cross_entropy

import probebench_probes.linear_models.logreg as module
from probebench.api import Features, ProbebenchWarning
from probebench.stats.metrics import mean_per_class, predictions, top1, top_k
from probebench_probes import LogregOptions
from probebench_probes.linear_models.logreg import Logreg

SWEEP = tuple((10.0 ** np.linspace(-6, 5, 45)).tolist())


def digits() -> tuple[Features, Features]:
    images, labels = load_digits(return_X_y=True)
    vectors, targets = torch.from_numpy(images).float(), torch.from_numpy(labels).long()
    return Features(vectors[:1437], targets[:1437], 10), Features(vectors[1437:], targets[1437:], 10)


def noise(images: int, dimensions: int, classes: int, *, seed: int = 0) -> Features:
    """Features without information: no class can be separated from another."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(images, dimensions, generator=generator)
    return Features(vectors, torch.arange(images) % classes, classes)


TRAIN, TEST = digits()
CASES = {
    "digits": TRAIN,
    "random": noise(300, 20, 4),
    "more features than images": noise(50, 200, 4),
    "features of very unlike deviations": Features(
        noise(300, 20, 4).vectors * torch.logspace(-3, 3, 20) + 10, noise(300, 20, 4).labels, 4
    ),
    "every feature twice": Features(noise(300, 20, 4).vectors.repeat(1, 2), noise(300, 20, 4).labels, 4),
}


def scaled(train: Features, vectors: torch.Tensor, inputs: str) -> np.ndarray:
    """The input of scikit-learn; features that are constant on train are 0."""
    if inputs == "raw":
        return vectors.double().numpy() - train.vectors.double().mean(0).numpy()
    return StandardScaler().fit(train.vectors.double()).transform(vectors.double().numpy())


def objective(data: Features, inputs: str, c: float, weights: torch.Tensor, bias: torch.Tensor) -> float:
    """scikit-learn's objective, float64."""
    logits = torch.from_numpy(scaled(data, data.vectors, inputs)) @ weights + bias
    loss = cross_entropy(logits, data.labels, reduction="sum")
    return float(c * loss + weights.square().sum() / 2)


def ours(data: Features, options: LogregOptions, c: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and bias of the fitted head, for the input of scikit-learn."""
    fitted = Logreg(options).fit(data, {"c": c}, seed=0)
    (weights, bias), transform = fitted._heads[0], fitted._transform
    if options.inputs == "raw":
        weights = transform.scale[:, None] * weights
    return weights.double(), bias.double()


@pytest.mark.parametrize("c", [1e-5, 1e-2, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("case", CASES)
def test_the_optimum_is_that_of_scikit_learn(case, c):
    data = CASES[case]
    weights, bias = ours(data, LogregOptions(), c)
    vectors = scaled(data, data.vectors, "standardized")
    model = LogisticRegression(C=c, tol=1e-8, max_iter=500, solver="newton-cholesky").fit(vectors, data.labels)
    theirs = objective(data, "standardized", c, torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_))
    assert objective(data, "standardized", c, weights, bias) <= theirs * (1 + 1e-6)
    # Images whose two best classes are nearly equal may get either of them.
    margins = np.sort(model.predict_log_proba(vectors), axis=1)
    clear = margins[:, -1] - margins[:, -2] > 1e-3
    predicted = predictions(Logreg(LogregOptions()).fit(data, {"c": c}, seed=0).scores(data.vectors)).numpy()
    assert clear.mean() > 0.95 or c < 1e-4
    assert np.array_equal(predicted[clear], model.predict(vectors)[clear])


@pytest.mark.parametrize("c", [1e-4, 1.0])
@pytest.mark.parametrize("case", ["digits", "random", "features of very unlike deviations"])
def test_raw_inputs_have_the_optimum_of_the_features_as_they_are(case, c):
    data = CASES[case]
    weights, bias = ours(data, LogregOptions(inputs="raw"), c)
    model = LogisticRegression(C=c, tol=1e-8, max_iter=500, solver="newton-cholesky")
    model.fit(scaled(data, data.vectors, "raw"), data.labels)
    theirs = objective(data, "raw", c, torch.from_numpy(model.coef_.T), torch.from_numpy(model.intercept_))
    assert objective(data, "raw", c, weights, bias) <= theirs * (1 + 1e-6)


def test_two_classes_are_scikit_learns_at_twice_the_c():
    few = TRAIN.labels < 2
    data = Features(TRAIN.vectors[few], TRAIN.labels[few], 2)
    vectors = scaled(data, data.vectors, "standardized")
    model = LogisticRegression(C=2e-2, tol=1e-10, max_iter=5000).fit(vectors, data.labels)
    scores = Logreg(LogregOptions()).fit(data, {"c": 1e-2}, seed=0).scores(data.vectors)
    assert np.allclose(scores[:, 1] - scores[:, 0], model.decision_function(vectors), atol=1e-3)


def test_the_published_grid_of_45_is_one_fit_and_each_trial_what_its_own_fit_gives():
    trials = Logreg(LogregOptions(cs=SWEEP)).search(TRAIN, TEST, metric=mean_per_class, seed=0)
    assert [trial.params["c"] for trial in trials] == list(SWEEP)
    for trial in trials[::11]:
        scores = Logreg(LogregOptions()).fit(TRAIN, trial.params, seed=5).scores(TEST.vectors)
        assert trial.value == pytest.approx(mean_per_class(scores, TEST.labels), abs=1 / 300)


def test_heads_that_do_not_fit_in_memory_together_are_fitted_in_groups(monkeypatch):
    options = LogregOptions(cs=(1e-3, 1e-2, 1e-1))
    together = Logreg(options).search(TRAIN, TEST, metric=top1, seed=0)
    monkeypatch.setattr(module, "HISTORY_BYTES", 1)
    assert [trial.value for trial in Logreg(options).search(TRAIN, TEST, metric=top1, seed=0)] == pytest.approx(
        [trial.value for trial in together], abs=1 / 300
    )


def test_a_fit_that_does_not_converge_is_reported_with_c_and_gradient():
    """Other tools limit L-BFGS to 100 iterations without a warning: the result depends on the limit."""
    options = LogregOptions(cs=(1e-5, 1e3), steps=6)
    with pytest.warns(
        ProbebenchWarning, match=r"did not converge within 6 steps.* C = 1000 \(gradient norm \d\.\de-0\d\)$"
    ) as caught:
        Logreg(options).search(TRAIN, TEST, metric=top1, seed=0)
    assert len(caught) == 1
    assert "1e-05" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Logreg(LogregOptions(cs=(1e-5, 1e3))).search(TRAIN, TEST, metric=top1, seed=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("factor", [1e3, 1.0, 1e-3])
def test_scores_are_finite_at_any_scale_and_precision(dtype, factor):
    data = Features((TEST.vectors * factor).to(dtype), TEST.labels, 10)
    scores = Logreg(LogregOptions()).fit(data, {"c": 100.0}, seed=0).scores(data.vectors)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()
    assert top1(scores, data.labels) == 1.0


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes(classes):
    """N8: with two or three classes the top-5 of other tools crashes, or counts classes that do not exist."""
    few = TRAIN.labels < classes
    data = Features(TRAIN.vectors[few], TRAIN.labels[few], classes)
    scores = Logreg(LogregOptions()).fit(data, {"c": 0.1}, seed=0).scores(data.vectors)
    assert scores.shape == (int(few.sum()), classes)
    assert top1(scores, data.labels) > 0.99
    assert top_k(scores, data.labels, 5) == 1.0


def test_classes_absent_from_train_keep_their_columns_and_get_no_credit():
    """N9: other tools take the number of classes from the labels: a head of 5 classes for a test set of 10."""
    odd = TRAIN.labels % 2 == 1
    train = Features(TRAIN.vectors[odd], TRAIN.labels[odd], 12)
    scores = Logreg(LogregOptions()).fit(train, {"c": 0.1}, seed=0).scores(TEST.vectors)
    assert scores.shape == (len(TEST.labels), 12)
    assert scores[:, 1:10:2].isfinite().all()
    assert (scores[:, [0, 2, 4, 6, 8, 10, 11]] == -torch.inf).all()
    only = TEST.labels % 2 == 1
    assert top1(scores[only], TEST.labels[only]) > 0.9
    assert top_k(scores, TEST.labels, 12) == pytest.approx(float(only.double().mean()))


def test_gaps_in_the_labels_change_nothing_for_the_other_classes():
    """N18: in other tools, labels that are not 0 to C - 1 shift the classes, or crash."""
    spread = Features(TRAIN.vectors, TRAIN.labels * 3, 30)
    plain = Logreg(LogregOptions()).fit(TRAIN, {"c": 0.1}, seed=0).scores(TEST.vectors)
    gaps = Logreg(LogregOptions()).fit(spread, {"c": 0.1}, seed=0).scores(TEST.vectors)
    assert torch.equal(gaps[:, ::3], plain)


def test_features_that_are_constant_on_train_are_ignored():
    more = Features(torch.cat([TRAIN.vectors, torch.full((1437, 2), 3.0)], 1), TRAIN.labels, 10)
    for inputs in ("standardized", "raw"):
        probe = Logreg(LogregOptions(inputs=inputs))
        new = torch.cat([TEST.vectors, 1e4 * torch.ones(len(TEST.labels), 2)], 1)
        with_them = probe.fit(more, {"c": 0.1}, seed=0).scores(new)
        assert torch.allclose(with_them, probe.fit(TRAIN, {"c": 0.1}, seed=0).scores(TEST.vectors), atol=1e-2)
