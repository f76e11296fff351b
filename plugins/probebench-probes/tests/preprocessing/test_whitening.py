"""Standardised inputs and their principal axes."""

from __future__ import annotations

import pytest
import torch

import probebench_probes.preprocessing.whitening as module
from probebench_probes.preprocessing import moments
from probebench_probes.preprocessing.whitening import Inputs


def correlated(images: int, dimensions: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=generator)
    return torch.randn(images, dimensions, generator=generator) @ mixing + torch.arange(dimensions)


def test_features_get_mean_0_and_deviation_1():
    vectors = correlated(500, 20)
    standard = Inputs.standardized(vectors).features(vectors)
    assert torch.allclose(standard.mean(0), torch.zeros(20), atol=1e-5)
    assert torch.allclose(standard.std(0, correction=0), torch.ones(20), atol=1e-5)


@pytest.mark.parametrize("block", [1024, 7])
def test_inputs_are_uncorrelated_within_a_block(block, monkeypatch):
    monkeypatch.setattr(module, "AXES_BLOCK", block)
    vectors = correlated(500, 20)
    prepared = Inputs.standardized(vectors).prepare(vectors)
    assert (prepared[:, 20] == 1).all()
    for start in range(0, 20, block):
        part = prepared[:, :20][:, start : start + block].double()
        assert torch.allclose(part.T @ part / 500, torch.eye(part.shape[1], dtype=torch.float64), atol=1e-2)


@pytest.mark.parametrize("block", [1024, 7])
def test_weights_along_the_axes_mean_the_same_as_those_of_the_features(block, monkeypatch):
    monkeypatch.setattr(module, "AXES_BLOCK", block)
    vectors = correlated(500, 20)
    inputs = Inputs.standardized(vectors)
    along_axes = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    weights = inputs.weights(along_axes)
    assert torch.allclose(inputs.prepare(vectors)[:, :20] @ along_axes, inputs.features(vectors) @ weights, atol=1e-3)
    length = (inputs.penalty[:, None] * along_axes.square()).sum()
    assert length == pytest.approx(float(weights.square().sum()), rel=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e4, -3e-5])
def test_a_feature_that_does_not_vary_becomes_0_everywhere(constant):
    vectors = correlated(500, 3)
    vectors[:, 1] = constant
    inputs = Inputs.standardized(vectors)
    seen_later = vectors + torch.tensor([0.0, 5.0, 0.0])
    assert (inputs.features(seen_later)[:, 1] == 0).all()
    assert inputs.prepare(seen_later).isfinite().all()


def test_a_small_deviation_on_a_large_mean_survives():
    vectors = 1e4 + torch.randint(-4, 5, (1000, 2), generator=torch.Generator().manual_seed(0)).float() / 8
    standard = Inputs.standardized(vectors).features(vectors)
    assert torch.allclose(standard.std(0, correction=0), torch.ones(2), atol=1e-3)


def test_more_features_than_images():
    vectors = correlated(10, 40)
    inputs = Inputs.standardized(vectors)
    assert inputs.prepare(vectors).isfinite().all()
    assert inputs.penalty.isfinite().all()


def test_raw_inputs_are_left_alone():
    vectors = correlated(10, 4)
    inputs = Inputs.raw(vectors)
    assert torch.equal(inputs.features(vectors), vectors)
    assert torch.equal(inputs.prepare(vectors)[:, :4], vectors)
    assert torch.equal(inputs.weights(vectors.T), vectors.T)


def test_a_penalty_on_centred_inputs_is_that_on_the_features_as_they_are():
    vectors = correlated(500, 20) * 30
    inputs = Inputs.centred(vectors)
    along_axes = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    raw = inputs.scale[:, None] * inputs.weights(along_axes)
    outputs = inputs.prepare(vectors)[:, :20] @ along_axes
    assert torch.allclose(outputs, (vectors - vectors.mean(0)) @ raw, atol=1e-2)
    assert (inputs.penalty[:, None] * along_axes.square()).sum() == pytest.approx(float(raw.square().sum()), rel=1e-4)
    assert len(set(inputs.scale.tolist())) == 1


@pytest.mark.parametrize("make", [Inputs.standardized, Inputs.centred])
def test_features_that_are_all_alike_become_0(make):
    inputs = make(torch.full((10, 3), 0.1))
    assert (inputs.prepare(torch.full((10, 3), 7.0))[:, :3] == 0).all()
    assert inputs.penalty.isfinite().all()


def test_moments_are_those_of_float64_without_a_copy_of_all_rows(monkeypatch):
    vectors = correlated(500, 20) + 1e3
    expected = vectors.double().mean(0), vectors.double().std(0, correction=0)
    longest = []
    double = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda part: longest.append(len(part)) or double(part))
    monkeypatch.setattr(moments, "CHUNK", 64)
    mean, deviation, _ = moments.moments(vectors)
    assert max(longest) == 64
    assert torch.allclose(mean, expected[0], rtol=1e-12)
    assert torch.allclose(deviation, expected[1], rtol=1e-10)
