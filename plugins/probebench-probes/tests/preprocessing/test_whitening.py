"""Standardisation and whitening."""

from __future__ import annotations

import pytest
import torch

import probebench_probes.preprocessing.whitening as module
from probebench_probes.preprocessing.whitening import FeatureTransform


def correlated(images: int, dimensions: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimensions, dimensions, generator=generator)
    return torch.randn(images, dimensions, generator=generator) @ mixing + torch.arange(dimensions)


def test_features_get_mean_0_and_deviation_1():
    vectors = correlated(500, 20)
    standard = FeatureTransform.standardized(vectors).scaled(vectors)
    assert torch.allclose(standard.mean(0), torch.zeros(20), atol=1e-5)
    assert torch.allclose(standard.std(0, correction=0), torch.ones(20), atol=1e-5)


@pytest.mark.parametrize("block", [1024, 7])
def test_whitened_features_are_uncorrelated_within_a_block(block, monkeypatch):
    monkeypatch.setattr(module, "AXES_BLOCK", block)
    vectors = correlated(500, 20)
    rows = FeatureTransform.standardized(vectors).whitened(vectors)
    assert (rows[:, 20] == 1).all()
    for start in range(0, 20, block):
        part = rows[:, :20][:, start : start + block].double()
        assert torch.allclose(part.T @ part / 500, torch.eye(part.shape[1], dtype=torch.float64), atol=1e-2)


@pytest.mark.parametrize("block", [1024, 7])
def test_weights_along_the_axes_equal_those_of_the_scaled_features(block, monkeypatch):
    monkeypatch.setattr(module, "AXES_BLOCK", block)
    vectors = correlated(500, 20)
    transform = FeatureTransform.standardized(vectors)
    along_axes = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    weights = transform.scaled_weights(along_axes)
    assert torch.allclose(
        transform.whitened(vectors)[:, :20] @ along_axes, transform.scaled(vectors) @ weights, atol=1e-3
    )
    length = (transform.penalty[:, None] * along_axes.square()).sum()
    assert length == pytest.approx(float(weights.square().sum()), rel=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e4, -3e-5])
def test_a_constant_feature_becomes_0_everywhere(constant):
    vectors = correlated(500, 3)
    vectors[:, 1] = constant
    transform = FeatureTransform.standardized(vectors)
    new = vectors + torch.tensor([0.0, 5.0, 0.0])
    assert (transform.scaled(new)[:, 1] == 0).all()
    assert transform.whitened(new).isfinite().all()


def test_a_small_deviation_on_a_large_mean_survives():
    vectors = 1e4 + torch.randint(-4, 5, (1000, 2), generator=torch.Generator().manual_seed(0)).float() / 8
    standard = FeatureTransform.standardized(vectors).scaled(vectors)
    assert torch.allclose(standard.std(0, correction=0), torch.ones(2), atol=1e-3)


def test_more_features_than_images():
    vectors = correlated(10, 40)
    transform = FeatureTransform.standardized(vectors)
    assert transform.whitened(vectors).isfinite().all()
    assert transform.penalty.isfinite().all()


def test_raw_features_are_unchanged():
    vectors = correlated(10, 4)
    transform = FeatureTransform.raw(vectors)
    assert torch.equal(transform.scaled(vectors), vectors)
    assert torch.equal(transform.whitened(vectors)[:, :4], vectors)
    assert torch.equal(transform.scaled_weights(vectors.T), vectors.T)


def test_the_penalty_of_centred_features_is_that_of_raw_features():
    vectors = correlated(500, 20) * 30
    transform = FeatureTransform.centred(vectors)
    along_axes = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    raw = transform.scale[:, None] * transform.scaled_weights(along_axes)
    outputs = transform.whitened(vectors)[:, :20] @ along_axes
    assert torch.allclose(outputs, (vectors - vectors.mean(0)) @ raw, atol=1e-2)
    assert (transform.penalty[:, None] * along_axes.square()).sum() == pytest.approx(
        float(raw.square().sum()), rel=1e-4
    )
    assert len(set(transform.scale.tolist())) == 1


@pytest.mark.parametrize("make", [FeatureTransform.standardized, FeatureTransform.centred])
def test_features_that_are_all_constant_become_0(make):
    transform = make(torch.full((10, 3), 0.1))
    assert (transform.whitened(torch.full((10, 3), 7.0))[:, :3] == 0).all()
    assert transform.penalty.isfinite().all()
