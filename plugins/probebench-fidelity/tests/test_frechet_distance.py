"""The Frechet distance against closed forms in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from probebench.api import ProbebenchWarning
from probebench_fidelity.frechet_distance import FrechetDistance, frechet_distance
from probebench_fidelity.options import FIDOptions


def covariance(width, seed):
    root = np.random.default_rng(seed).standard_normal((width, width))
    return root @ root.T / width + 0.1 * np.eye(width)


def test_frechet_distance_of_gaussians_is_the_closed_form(gaussian):
    """Dowson and Landau 1982: |m - n|^2 + tr(A + B - 2 (A B)^1/2)."""
    width = 8
    means = [np.random.default_rng(seed).standard_normal(width) for seed in (1, 2)]
    one, other = covariance(width, 3), covariance(width, 4)
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(one + other - 2 * np.real(sqrtm(one @ other)))
    first, second = gaussian(500, means[0], one, 5), gaussian(300, means[1], other, 6)
    assert frechet_distance(torch.from_numpy(first), torch.from_numpy(second)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_one_dimension_is_that_of_mean_and_deviation(gaussian):
    first = gaussian(100, np.array([1.0, 0.0]), np.diag([4.0, 1.0]))
    second = gaussian(100, np.array([3.0, 0.0]), np.diag([9.0, 1.0]), 1)
    assert frechet_distance(torch.from_numpy(first), torch.from_numpy(second)) == pytest.approx(4 + 1, rel=1e-9)


def test_features_of_a_large_mean_lose_no_digits(gaussian):
    """In float32, a mean of 1000 would be off by more than the distance."""
    points = torch.from_numpy(gaussian(4000, np.full(4, 1000.0), 1e-4 * np.eye(4))).float()
    assert abs(frechet_distance(points, points + 0.0)) < 1e-9


def test_few_images_give_a_warning_with_their_numbers(features):
    probe = FrechetDistance(FIDOptions(extractor="pixels"))
    with pytest.warns(ProbebenchWarning, match="fd of 16 images with 16 features: with no more images than features"):
        probe.measure(features(torch.randn(16, 16)), features(torch.randn(40, 16)))
    probe.measure(features(torch.randn(17, 16)), features(torch.randn(17, 16)))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "fid"),
        ({"point": "2048"}, "fid"),
        ({"point": "768"}, "fd"),
        ({"extractor": "inception:pretrained=false"}, "fd"),
        ({"extractor": "timm"}, "fd"),
    ],
)
def test_only_the_distance_of_inceptions_features_is_called_fid(features, options, name):
    sets = features(torch.randn(20, 2)), features(torch.randn(20, 2))
    assert list(FrechetDistance(FIDOptions(**options)).measure(*sets)) == [name]
