"""Batched heads against heads trained one by one, PyTorch's Adam, and scikit-learn's optimum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import probebench_probes.linear_models.head_training as module
from probebench.api import Features
from probebench_probes.linear_models.head_training import Recipe, initial_weights, train_heads
from probebench_probes.optimization.batches import batches


def features(images: int = 300, dimensions: int = 8, classes: int = 4, *, seed: int = 0) -> Features:
    """Overlapping classes in features that share most of their variance, as a network's do."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (images,), generator=generator)
    vectors = 0.2 * torch.eye(classes, dimensions)[labels] + 0.3 * torch.randn(images, dimensions, generator=generator)
    return Features(vectors + 3 * torch.randn(images, 1, generator=generator), labels, classes)


def recipe(**changes) -> Recipe:
    plain = {"inputs": "standardized", "schedule": "cosine", "optimizer": "adam", "momentum": 0.0}
    return Recipe(**{"epochs": 5, "batch_size": 64, **plain, **changes})


@pytest.mark.parametrize("inputs", ["standardized", "raw", "batchnorm"])
def test_a_head_is_what_it_would_be_alone(inputs):
    rates, decays = [1e-2, 1e-2, 1e-1], [0.0, 1e-2, 1e-3]
    data = features()
    (together,) = train_heads([data], recipe(inputs=inputs), learning_rates=rates, weight_decays=decays, seed=3)
    for head, (rate, decay) in enumerate(zip(rates, decays, strict=True)):
        (alone,) = train_heads([data], recipe(inputs=inputs), learning_rates=[rate], weight_decays=[decay], seed=3)
        assert torch.allclose(alone.weights[0], together.weights[head], rtol=1e-4, atol=1e-5)
        assert torch.allclose(alone.bias[0], together.bias[head], rtol=1e-4, atol=1e-5)
        assert torch.allclose(alone.scores(data.vectors)[0], together.scores(data.vectors)[head], rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 70), st.integers(2, 4)), min_size=1, max_size=6),
    st.sampled_from(["standardized", "raw", "batchnorm"]),
    st.sampled_from([1, 3 * 4 * 16 * 2 * 4, module.STEP_BYTES]),
)
def test_other_points_do_not_matter(shapes, inputs, step_bytes):
    # Width, images and classes of each point; points of equal shape are trained together, as many as step_bytes allow.
    points = [features(images, wide, classes, seed=seed) for seed, (wide, images, classes) in enumerate(shapes * 2)]
    grid = {"learning_rates": [1e-2, 1e-1], "weight_decays": [1e-3, 0.0], "seed": 3}
    short = recipe(inputs=inputs, epochs=2, batch_size=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEP_BYTES", step_bytes)
        together = train_heads(points, short, **grid)
    for point, heads in zip(points, together, strict=True):
        (alone,) = train_heads([point], short, **grid)
        assert torch.allclose(heads.scores(point.vectors), alone.scores(point.vectors), rtol=1e-4, atol=1e-4)
        assert torch.allclose(heads.weights, alone.weights, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "optimizer", "momentum", "schedule"),
    [
        ("raw", "adam", 0.0, "constant"),
        ("raw", "adam", 0.0, "cosine"),
        ("raw", "adam", 0.0, "cosine-epochs"),
        ("raw", "sgd", 0.0, "step"),
        ("raw", "sgd", 0.9, "cosine"),
        ("batchnorm", "adam", 0.0, "cosine"),
        ("batchnorm", "sgd", 0.9, "step"),
    ],
)
def test_heads_follow_pytorch(inputs, optimizer, momentum, schedule):
    data = features()
    how = recipe(inputs=inputs, optimizer=optimizer, momentum=momentum, schedule=schedule, epochs=4)
    (ours,) = train_heads([data], how, learning_rates=[1e-2], weight_decays=[1e-2], seed=5)

    layer = torch.nn.Linear(8, 4)
    with torch.no_grad():
        start = initial_weights(8, 4, inputs, seed=5)
        layer.weight.copy_(start[:-1].T)
        layer.bias.copy_(start[-1])
    groups = [{"params": [layer.weight], "weight_decay": 1e-2}, {"params": [layer.bias], "weight_decay": 0.0}]
    optimiser = torch.optim.Adam(groups, lr=1e-2) if optimizer == "adam" else torch.optim.SGD(groups, 1e-2, momentum)
    schedulers = {
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4 * 5),
        "cosine-epochs": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 4),
        "step": lambda: torch.optim.lr_scheduler.StepLR(optimiser, 1, 0.1),
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
    }
    scheduler = schedulers[schedule]()
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(8, affine=False), layer) if inputs == "batchnorm" else layer
    for epoch in range(4):
        for index in batches(300, 64, epoch, seed=5):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(data.vectors[index]), data.labels[index]).backward()
            optimiser.step()
            if schedule == "cosine":
                scheduler.step()
        if schedule != "cosine":
            scheduler.step()
    expected = network.eval()(data.vectors).detach()
    assert torch.allclose(ours.scores(data.vectors)[0], expected, rtol=1e-3, atol=1e-3)
    assert torch.allclose(ours.weights[0].T, layer.weight, rtol=1e-3, atol=1e-4)
    assert torch.allclose(ours.bias[0], layer.bias, rtol=1e-3, atol=1e-4)


def test_a_converged_head_is_logistic_regression():
    data, decays = features(), [1e-1, 1e-2, 1e-3, 1e-4]
    (heads,) = train_heads(
        [data], recipe(epochs=300, batch_size=300), learning_rates=[3e-2] * 4, weight_decays=decays, seed=0
    )
    standard = StandardScaler().fit_transform(data.vectors.double())
    for decay, scores in zip(decays, heads.scores(data.vectors), strict=True):
        reference = LogisticRegression(C=1 / (300 * decay), tol=1e-8, max_iter=2000).fit(standard, data.labels)
        assert np.allclose(scores.softmax(1), reference.predict_proba(standard), atol=5e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_converged_head_is_logistic_regression_under_sgd_too(momentum):
    """Also where features are duplicated, so that most axes have no variance and the penalty there is very large."""
    data, decays = features(), [1e-1, 1e-2, 1e-3]
    twice = Features(torch.cat([data.vectors, 3 * data.vectors + 1], 1), data.labels, data.classes)
    how = recipe(epochs=600, batch_size=300, optimizer="sgd", momentum=momentum)
    (heads,) = train_heads([twice], how, learning_rates=[0.5] * 3, weight_decays=decays, seed=0)
    standard = StandardScaler().fit_transform(twice.vectors.double())
    for decay, scores in zip(decays, heads.scores(twice.vectors), strict=True):
        reference = LogisticRegression(C=1 / (300 * decay), tol=1e-8, max_iter=2000).fit(standard, twice.labels)
        assert np.allclose(scores.softmax(1), reference.predict_proba(standard), atol=5e-3)


def test_few_epochs_suffice_where_plain_standardised_inputs_do_not():
    # The signal is orthogonal to the direction that all features share: a narrow valley of the loss.
    train, test = features(3000), features(1000, seed=1)
    (ours,) = train_heads([train], recipe(epochs=10), learning_rates=[1e-2], weight_decays=[0.0], seed=0)
    scaler = StandardScaler().fit(train.vectors)
    reference = LogisticRegression(C=1e6, max_iter=5000).fit(scaler.transform(train.vectors), train.labels)
    best = reference.score(scaler.transform(test.vectors), test.labels)
    plain = Features(torch.from_numpy(scaler.transform(train.vectors)).float(), train.labels, 4)
    (slow,) = train_heads([plain], recipe(epochs=10, inputs="raw"), learning_rates=[1e-2], weight_decays=[0.0], seed=0)

    def accuracy(scores):
        return float((scores[0].argmax(1) == test.labels).double().mean())

    assert accuracy(ours.scores(test.vectors)) > best - 0.01
    assert accuracy(slow.scores(torch.from_numpy(scaler.transform(test.vectors)).float())) < best - 0.05


def test_a_batch_of_one_image_is_normalised_by_the_running_averages():
    (heads,) = train_heads(
        [features(65)], recipe(inputs="batchnorm"), learning_rates=[1e-2], weight_decays=[0.0], seed=0
    )
    assert heads.weights.isfinite().all()
    assert heads.transform.scale.isfinite().all()


def test_raw_weights_start_as_those_of_a_linear_layer():
    start = initial_weights(100, 50, "raw", seed=0)
    assert start.abs().max() <= 0.1
    assert float(start.std()) == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert not torch.equal(start, initial_weights(100, 50, "raw", seed=1))
    assert (initial_weights(100, 50, "standardized", seed=0) == 0).all()
