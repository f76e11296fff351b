"""`linear`: the thesis' protocol, its accuracy compared to scikit-learn, and unusual classes and scales."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probebench.api import Features, TrainingError
from probebench.extraction.subsets import carve
from probebench.stats.metrics import mean_per_class, predictions, top1
from probebench_probes import LinearOptions
from probebench_probes.linear_models.head_training import initial_weights
from probebench_probes.linear_models.linear import Linear
from probebench_probes.optimization.batches import batches


def part(data: Features, index: torch.Tensor) -> Features:
    return Features(data.vectors[index], data.labels[index], data.classes)


def _digits() -> tuple[Features, Features]:
    images, labels = load_digits(return_X_y=True)
    vectors, targets = torch.from_numpy(images).float(), torch.from_numpy(labels).long()
    return Features(vectors[:1437], targets[:1437], 10), Features(vectors[1437:], targets[1437:], 10)


TRAIN, TEST = _digits()
FIT, VAL = (part(TRAIN, index) for index in carve(TRAIN.labels, 0.1, seed=0))
SHORT = LinearOptions(epochs=5)


def chosen(probe: Linear, fit: Features, val: Features, *, seed: int = 0):
    return max(probe.search(fit, val, metric=top1, seed=seed), key=lambda trial: trial.value)


def test_the_default_is_as_good_as_logistic_regression():
    probe = Linear(LinearOptions())
    ours = top1(probe.fit(TRAIN, chosen(probe, FIT, VAL).params, seed=0).scores(TEST.vectors), TEST.labels)

    def reference(c, fit, test):
        scaler = StandardScaler().fit(fit.vectors)
        model = LogisticRegression(C=c, max_iter=2000).fit(scaler.transform(fit.vectors), fit.labels)
        return model.score(scaler.transform(test.vectors), test.labels)

    best = max((0.001, 0.01, 0.1, 1.0, 10.0), key=lambda c: reference(c, FIT, VAL))
    # 360 test images: one image is 0.3 points.
    assert ours >= reference(best, TRAIN, TEST) - 0.01


def test_the_thesis_protocol_is_a_linear_layer_trained_by_adam(thesis2024, assert_same_predictions):
    probe = Linear(LinearOptions(**thesis2024["linear"]))
    (trial,) = probe.search(TRAIN, TEST, metric=top1, seed=11)
    assert trial.params == {"learning_rate": 1e-3, "weight_decay": 0.0}
    fitted = probe.fit(TRAIN, trial.params, seed=11)

    layer = torch.nn.Linear(64, 10)
    with torch.no_grad():
        start = initial_weights(64, 10, "raw", seed=11)
        layer.weight.copy_(start[:-1].T)
        layer.bias.copy_(start[-1])
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for epoch in range(30):
        for index in batches(len(TRAIN.labels), 128, epoch, seed=11):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(TRAIN.vectors[index]), TRAIN.labels[index]).backward()
            optimiser.step()
    reference = layer(TEST.vectors).detach()
    assert_same_predictions(fitted.scores(TEST.vectors), reference, margin=1e-2)
    assert trial.value == pytest.approx(top1(reference, TEST.labels), abs=1.5 / 360)  # one image


def test_a_sweep_over_points_is_one_plain_loop_for_each_head_and_point(thesis2024):
    # For each point and head one layer in PyTorch, with the same initial weights and batches.
    options = thesis2024["linear"] | {"epochs": 5, "learning_rates": (1e-3, 1e-2), "weight_decays": (0.0, 1e-2)}
    points = [
        tuple(Features(part.vectors[:, first:last].contiguous(), part.labels, 10) for part in (FIT, VAL))
        for first, last in ((0, 32), (32, 64), (0, 64))
    ]
    sweep = Linear(LinearOptions(**options)).search_many(points, metric=top1, seed=7)
    for (fit, val), trials in zip(points, sweep, strict=True):
        for trial in trials:
            layer = torch.nn.Linear(fit.vectors.shape[1], 10)
            with torch.no_grad():
                start = initial_weights(fit.vectors.shape[1], 10, "raw", seed=7)
                layer.weight.copy_(start[:-1].T)
                layer.bias.copy_(start[-1])
            decayed = {"params": [layer.weight], "weight_decay": trial.params["weight_decay"]}
            optimiser = torch.optim.Adam([decayed, {"params": [layer.bias]}], lr=trial.params["learning_rate"])
            for epoch in range(5):
                for index in batches(len(fit.labels), 128, epoch, seed=7):
                    optimiser.zero_grad()
                    torch.nn.functional.cross_entropy(layer(fit.vectors[index]), fit.labels[index]).backward()
                    optimiser.step()
            reference = top1(layer(val.vectors).detach(), val.labels)
            assert trial.value == pytest.approx(reference, abs=1.5 / len(val.labels))  # one image


@pytest.mark.parametrize("inputs", ["raw", "standardized"])
def test_an_epoch_trains_on_the_next_view(inputs, thesis2024):
    """As DDAE uses its features of ten augmented copies: one copy of each image in every epoch."""
    options = thesis2024["linear"] | {"epochs": 7, "inputs": inputs, "learning_rates": (1e-2,), "views": "crop3"}
    noise = 4 * torch.randn(3, *FIT.vectors.shape, generator=torch.Generator().manual_seed(0))
    views = tuple(FIT.vectors + one for one in noise)
    seen = Features(
        torch.full_like(FIT.vectors, torch.nan), FIT.labels, 10, views=views
    )  # only the views are trained on
    (trial,) = Linear(LinearOptions(**options)).search(seen, VAL, metric=top1, seed=7)

    mean, scale = torch.cat(views).mean(0), torch.cat(views).std(0, correction=0)
    layer = torch.nn.Linear(64, 10)
    with torch.no_grad():
        start = initial_weights(64, 10, inputs, seed=7)
        layer.weight.copy_(start[:-1].T)
        layer.bias.copy_(start[-1])
    read = (lambda vectors: vectors) if inputs == "raw" else (lambda vectors: (vectors - mean) / scale)
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-2)
    for epoch in range(7):
        for index in batches(len(FIT.labels), 128, epoch, seed=7):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(read(views[epoch % 3])[index]), FIT.labels[index]).backward()
            optimiser.step()
    reference = top1(layer(read(VAL.vectors)).detach(), VAL.labels)
    # Standardised inputs are whitened: the same optimum, reached in other steps.
    assert trial.value == pytest.approx(reference, abs=1.5 / len(VAL.labels) if inputs == "raw" else 0.03)


def test_points_with_views_train_beside_points_without(thesis2024):
    options = LinearOptions(**thesis2024["linear"] | {"epochs": 2})
    viewed = Features(FIT.vectors, FIT.labels, 10, views=(FIT.vectors.flip(1), FIT.vectors))
    alone = [Linear(options).search(train, VAL, metric=top1, seed=0)[0].value for train in (FIT, viewed)]
    together = Linear(options).search_many([(FIT, VAL), (viewed, VAL)], metric=top1, seed=0)
    assert [trials[0].value for trials in together] == alone
    assert alone[0] != alone[1]


def test_a_training_that_diverges_is_not_chosen_and_an_error_when_it_is():
    plain = {"optimizer": "sgd", "inputs": "raw", "schedule": "constant", "epochs": 3}
    options = LinearOptions(learning_rates=(1e38, 1e-2), weight_decays=(0.0,), **plain)
    worse, better = Linear(options).search(FIT, VAL, metric=top1, seed=0)
    assert worse.value < 0.2 < better.value
    with pytest.raises(
        TrainingError,
        match=r"linear diverges with the learning rate 1e\+38.*\n.*of linear\n.*linear:learning_rates=0\.01$",
    ):
        Linear(options).fit(FIT, worse.params, seed=0)


def test_trials_are_the_grid_and_each_is_what_its_fit_gives():
    options = LinearOptions(epochs=3, learning_rates=(1e-2, 1e-3), weight_decays=(1e-2, 0.0))
    trials = Linear(options).search(FIT, VAL, metric=mean_per_class, seed=2)
    assert [tuple(trial.params.values()) for trial in trials] == [(1e-2, 1e-2), (1e-2, 0.0), (1e-3, 1e-2), (1e-3, 0.0)]
    for trial in trials:
        scores = Linear(options).fit(FIT, trial.params, seed=2).scores(VAL.vectors)
        assert trial.value == pytest.approx(mean_per_class(scores, VAL.labels), abs=1 / 40)


def test_a_seed_repeats_and_no_global_state_is_used_or_inputs_changed(thesis2024):
    before, copies = torch.random.get_rng_state(), [t.clone() for t in (FIT.vectors, FIT.labels, VAL.vectors)]
    numpy_state = np.random.get_state()[1].copy()
    for options in (SHORT, LinearOptions(**thesis2024["linear"])):
        one, other = (Linear(options).fit(FIT, {"learning_rate": 1e-3, "weight_decay": 0.0}, seed=4) for _ in range(2))
        torch.manual_seed(123)
        again = Linear(options).fit(FIT, {"learning_rate": 1e-3, "weight_decay": 0.0}, seed=4)
        torch.random.set_rng_state(before)
        assert torch.equal(one.scores(VAL.vectors), other.scores(VAL.vectors))
        assert torch.equal(one.scores(VAL.vectors), again.scores(VAL.vectors))
        unlike = Linear(options).fit(FIT, {"learning_rate": 1e-3, "weight_decay": 0.0}, seed=5)
        assert not torch.equal(one.scores(VAL.vectors), unlike.scores(VAL.vectors))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert all(torch.equal(a, b) for a, b in zip((FIT.vectors, FIT.labels, VAL.vectors), copies, strict=True))


@pytest.mark.parametrize("factor", [1e4, 1e-4])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_the_scale_of_features_does_not_matter(factor, shift):
    params = {"learning_rate": 1e-2, "weight_decay": 1e-3}
    plain = Linear(SHORT).fit(FIT, params, seed=0).scores(VAL.vectors)
    moved = Features((FIT.vectors + shift) * factor, FIT.labels, 10)
    scores = Linear(SHORT).fit(moved, params, seed=0).scores((VAL.vectors + shift) * factor)
    assert (predictions(scores) == predictions(plain)).double().mean() >= 0.99


@pytest.mark.parametrize("protocol", ["default", "thesis2024"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("factor", [1e3, 1.0, 1e-4])
def test_scores_are_finite_at_any_scale_and_precision(protocol, dtype, factor, request):
    probe = Linear(LinearOptions(**(request.getfixturevalue(protocol)["linear"] if protocol != "default" else {})))
    data = Features((FIT.vectors * factor).to(dtype), FIT.labels, 10)
    for trial in probe.search(data, data, metric=top1, seed=0):
        assert 0 <= trial.value <= 1
    fitted = probe.fit(data, {"learning_rate": 1e-3, "weight_decay": 0.0}, seed=0)
    scores = fitted.scores(data.vectors)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes(classes):
    few = TRAIN.labels < classes
    data = Features(TRAIN.vectors[few], TRAIN.labels[few], classes)
    probe = Linear(LinearOptions())
    scores = probe.fit(data, chosen(probe, data, data).params, seed=0).scores(data.vectors)
    assert scores.shape == (int(few.sum()), classes)
    assert top1(scores, data.labels) > 0.95


def test_a_class_absent_from_train_is_never_predicted_and_one_absent_from_test_does_no_harm():
    odd = part(FIT, FIT.labels % 2 == 1)
    probe = Linear(LinearOptions())
    scores = probe.fit(odd, chosen(probe, odd, VAL).params, seed=0).scores(VAL.vectors)
    assert (scores[:, ::2] == -torch.inf).all()
    assert scores[:, 1::2].isfinite().all()
    only = VAL.labels % 2 == 1
    assert top1(scores[only], VAL.labels[only]) > 0.9


def test_one_image_a_class_and_more_features_than_images():
    first = torch.stack([(TRAIN.labels == label).nonzero()[0, 0] for label in range(10)])
    tiny = part(TRAIN, first)
    probe = Linear(LinearOptions())
    scores = probe.fit(tiny, chosen(probe, tiny, tiny).params, seed=0).scores(tiny.vectors)
    assert top1(scores, tiny.labels) == 1.0


@pytest.mark.parametrize("inputs", ["standardized", "raw", "batchnorm"])
def test_an_image_is_scored_alone_as_among_others(inputs):
    """N14: in lightly, norm layers remained in training mode, and the score of an image depended on its batch."""
    fitted = Linear(SHORT.model_copy(update={"inputs": inputs})).fit(
        FIT, {"learning_rate": 1e-2, "weight_decay": 1e-3}, seed=0
    )
    together = fitted.scores(VAL.vectors)
    assert torch.allclose(torch.cat([fitted.scores(row[None]) for row in VAL.vectors]), together, atol=1e-4)
