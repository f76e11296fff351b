"""`ridge` against scikit-learn, on easy and on ill-conditioned features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge as Reference
from sklearn.linear_model import RidgeClassifier
from sklearn.preprocessing import StandardScaler

import probebench_probes.linear_models.ridge as module
from probebench.api import Features
from probebench.plugins.registry import installed
from probebench.stats.metrics import mean_per_class, top1, top_k
from probebench_probes import RidgeOptions
from probebench_probes.linear_models.ridge import Ridge


def digits() -> tuple[Features, Features]:
    images, labels = load_digits(return_X_y=True)
    vectors, targets = torch.from_numpy(images).float(), torch.from_numpy(labels).long()
    return Features(vectors[:1437], targets[:1437], 10), Features(vectors[1437:], targets[1437:], 10)


def blobs(images: int, dimensions: int, classes: int, *, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    centres = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(99))
    return Features(centres[labels] + 2 * torch.randn(images, dimensions, generator=generator), labels, classes)


def changed(data: Features, change) -> Features:
    return Features(change(data.vectors), data.labels, data.classes)


TRAIN, TEST = digits()
SMALL = blobs(200, 30, 5)
CASES = {
    "digits, with constant features": TRAIN,
    "more features than images": blobs(60, 150, 5),
    "as many features as images": blobs(60, 60, 5),
    "every feature twice": changed(SMALL, lambda x: x.repeat(1, 2)),
    "features twice, fewer images": changed(blobs(40, 30, 5), lambda x: x.repeat(1, 2)),
    "small deviations on large means": changed(SMALL, lambda x: x + 1000),
    "deviations from 1e-3 to 1e3": changed(SMALL, lambda x: x * torch.logspace(-3, 3, 30)),
}


def scaler(data: Features) -> StandardScaler:
    return StandardScaler().fit(data.vectors.double())


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_scikit_learn(case, alpha, assert_same_predictions):
    data = CASES[case]
    vectors = scaler(data).transform(data.vectors.double().numpy())
    reference = Reference(alpha, solver="svd").fit(vectors, np.eye(data.classes)[data.labels])
    scores = Ridge(RidgeOptions()).fit(data, {"alpha": alpha}, seed=0).scores(data.vectors)
    assert np.allclose(scores, reference.predict(vectors), atol=2e-5)
    classifier = RidgeClassifier(alpha, solver="svd").fit(vectors, data.labels)
    assert_same_predictions(scores, classifier.decision_function(vectors), margin=1e-4)


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("case", CASES)
def test_raw_inputs_are_those_of_scikit_learn(case, alpha):
    data = CASES[case]
    reference = Reference(alpha, solver="svd").fit(data.vectors.double(), np.eye(data.classes)[data.labels])
    scores = Ridge(RidgeOptions(inputs="raw")).fit(data, {"alpha": alpha}, seed=0).scores(data.vectors)
    assert np.allclose(scores, reference.predict(data.vectors.double()), atol=2e-5)


@pytest.mark.parametrize("case", ["digits, with constant features", "more features than images"])
def test_blocks_change_nothing(case, monkeypatch):
    data = CASES[case]
    whole = Ridge(RidgeOptions()).fit(data, {"alpha": 1.0}, seed=0).scores(data.vectors)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 7 * min(data.vectors.shape))
    assert torch.allclose(
        Ridge(RidgeOptions()).fit(data, {"alpha": 1.0}, seed=0).scores(data.vectors), whole, atol=1e-6
    )


def test_the_smaller_gram_matrix_is_decomposed(monkeypatch):
    sizes = []
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: sizes.append(tuple(matrix.shape)) or eigh(matrix))
    for data in (blobs(60, 150, 5), blobs(150, 60, 5)):
        Ridge(RidgeOptions()).search(data, data, metric=top1, seed=0)
    assert sizes == [(60, 60), (60, 60)]


def test_trials_are_the_penalties_and_each_is_what_its_fit_gives():
    trials = Ridge(RidgeOptions()).search(TRAIN, TEST, metric=mean_per_class, seed=0)
    assert [trial.params["alpha"] for trial in trials] == list(RidgeOptions().alphas)
    for trial in trials:
        scores = Ridge(RidgeOptions()).fit(TRAIN, trial.params, seed=7).scores(TEST.vectors)
        assert trial.value == mean_per_class(scores, TEST.labels)


def test_of_equal_penalties_the_strongest_comes_first():
    far = Features(torch.eye(4).repeat(20, 1) * 100, torch.arange(80) % 4, 4)
    trials = Ridge(RidgeOptions()).search(far, far, metric=top1, seed=0)
    assert {trial.value for trial in trials} == {1.0}
    assert max(trials, key=lambda trial: trial.value).params == {"alpha": 1e6}


def test_digits_are_classified_as_by_scikit_learn():
    train, test = (scaler(TRAIN).transform(data.vectors.double()) for data in (TRAIN, TEST))
    for trial in Ridge(RidgeOptions()).search(TRAIN, TEST, metric=top1, seed=0):
        model = RidgeClassifier(trial.params["alpha"]).fit(train, TRAIN.labels)
        assert trial.value == pytest.approx(model.score(test, TEST.labels), abs=1.5 / 360)  # one image


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("factor", [1e3, 1.0, 1e-3])
def test_the_scale_and_precision_of_features_do_not_matter(dtype, factor):
    plain = Ridge(RidgeOptions()).fit(TEST, {"alpha": 1.0}, seed=0).scores(TEST.vectors)
    data = changed(TEST, lambda x: (x * factor).to(dtype))
    scores = Ridge(RidgeOptions()).fit(data, {"alpha": 1.0}, seed=0).scores(data.vectors)
    assert scores.dtype == torch.float32
    assert torch.allclose(scores, plain, atol=1e-4 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes(classes):
    """N8: with two or three classes the top-5 of other tools crashes, or counts classes that do not exist."""
    few = TRAIN.labels < classes
    data = Features(TRAIN.vectors[few], TRAIN.labels[few], classes)
    scores = Ridge(RidgeOptions()).fit(data, {"alpha": 10.0}, seed=0).scores(data.vectors)
    assert scores.shape == (int(few.sum()), classes)
    assert top1(scores, data.labels) > 0.98
    assert top_k(scores, data.labels, 5) == 1.0


def test_classes_absent_from_train_keep_their_columns_and_get_no_credit():
    """N9: other tools take the number of classes from the labels: a head of 5 classes for a test set of 10."""
    odd = TRAIN.labels % 2 == 1
    train = Features(TRAIN.vectors[odd], TRAIN.labels[odd], 12)
    scores = Ridge(RidgeOptions()).fit(train, {"alpha": 10.0}, seed=0).scores(TEST.vectors)
    assert scores.shape == (len(TEST.labels), 12)
    assert (scores[:, [0, 2, 4, 6, 8, 10, 11]] == -torch.inf).all()
    only = TEST.labels % 2 == 1
    assert top1(scores[only], TEST.labels[only]) > 0.85
    assert top_k(scores, TEST.labels, 12) == pytest.approx(float(only.double().mean()))


def test_gaps_in_the_labels_change_nothing_for_the_other_classes():
    """N18: in other tools, labels that are not 0 to C - 1 shift the classes, or crash."""
    spread = Features(TRAIN.vectors, TRAIN.labels * 3, 30)
    plain = Ridge(RidgeOptions()).fit(TRAIN, {"alpha": 10.0}, seed=0).scores(TEST.vectors)
    gaps = Ridge(RidgeOptions()).fit(spread, {"alpha": 10.0}, seed=0).scores(TEST.vectors)
    assert torch.allclose(gaps[:, ::3], plain, atol=1e-5)


def test_features_that_are_constant_on_train_are_ignored():
    for data in (TRAIN, blobs(40, 60, 5)):
        more = changed(data, lambda x: torch.cat([x, torch.full((len(x), 2), 3.0)], 1))
        new = torch.cat([data.vectors, 1e4 * torch.ones(len(data.labels), 2)], 1)
        for inputs in ("standardized", "raw"):
            probe = Ridge(RidgeOptions(inputs=inputs))
            with_them = probe.fit(more, {"alpha": 1.0}, seed=0).scores(new)
            assert torch.allclose(with_them, probe.fit(data, {"alpha": 1.0}, seed=0).scores(data.vectors), atol=1e-5)


def test_its_spec_declares_that_it_gives_no_probabilities():
    """So that a soft vote is refused before any feature is read."""
    declared = {
        entry.spec.name: entry.spec.logits for entry in installed().entries("probe") if "probes" in entry.origin
    }
    assert [name for name, logits in declared.items() if not logits] == ["ridge"]
    assert not Ridge(RidgeOptions()).fit(TRAIN, {"alpha": 10.0}, seed=0).logits
