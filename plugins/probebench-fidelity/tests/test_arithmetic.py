"""The numbers against closed forms in float64, against plain loops, and against torch-fidelity's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from probebench.api import ProbebenchWarning, UsageError
from probebench_fidelity.frechet_distance import FrechetDistance, frechet_distance
from probebench_fidelity.inception_score import InceptionScore
from probebench_fidelity.kernel_distance import KernelDistance
from probebench_fidelity.options import FIDOptions, ISCOptions, KIDOptions, PRCOptions
from probebench_fidelity.precision_recall import PrecisionRecall


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


def test_few_images_are_told_with_their_numbers(features):
    probe = FrechetDistance(FIDOptions(extractor="pixels"))
    with pytest.warns(ProbebenchWarning, match="fd of 16 images with 16 features: with no more images than features"):
        probe.measure(features(torch.randn(16, 16)), features(torch.randn(40, 16)))
    probe.measure(features(torch.randn(17, 16)), features(torch.randn(17, 16)))


def test_kernel_distance_is_the_unbiased_estimate(features):
    """Gretton et al. 2012, lemma 6, with the kernel of Binkowski et al. 2018, written as loops."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(12, 3, generator=generator), torch.randn(12, 3, generator=generator) + 0.5
    x, y = first.double().numpy(), second.double().numpy()

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    n = len(x)
    same = sum(kernel(z[i], z[j]) for z in (x, y) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    cross = sum(kernel(x[i], y[j]) for i in range(n) for j in range(n)) / n**2
    probe = KernelDistance(KIDOptions(count=12, subset_size=12, subsets=3))
    [(name, found)] = probe.measure(features(first), features(second)).items()
    assert name == "kid"
    assert found.value == pytest.approx(same - 2 * cross, rel=1e-9)
    assert found.sd == pytest.approx(0, abs=1e-12)


def test_kernel_distance_of_gaussians_is_the_closed_form(features):
    """In one dimension, E k(x, y) = E (x y + 1)^3 by the moments of two normal distributions."""
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(20_000, 1, generator=generator)
    second = torch.randn(20_000, 1, generator=generator) + 1
    moments = {"x": (0.0, 1.0, 0.0), "y": (1.0, 2.0, 4.0)}  # E z, E z^2, E z^3

    def expected(a, b):
        (a1, a2, a3), (b1, b2, b3) = moments[a], moments[b]
        return a3 * b3 + 3 * a2 * b2 + 3 * a1 * b1 + 1

    truth = expected("x", "x") + expected("y", "y") - 2 * expected("x", "y")
    probe = KernelDistance(KIDOptions(count=20_000, subset_size=1000, subsets=60))
    [found] = probe.measure(features(first), features(second)).values()
    assert abs(found.value - truth) < 4 * found.sd / math.sqrt(20)  # 20 subsets of 20,000 share no image


def test_precision_and_recall_by_loops(features):
    generator = torch.Generator().manual_seed(2)
    drawn, real = torch.randn(30, 2, generator=generator), torch.randn(40, 2, generator=generator) * 2

    def covered(points, centres, k):
        hits = 0
        radii = [sorted(float((c - other).norm()) for other in centres)[k] for c in centres]
        for point in points:
            hits += any(float((point - c).norm()) <= r for c, r in zip(centres, radii, strict=True))
        return hits / len(points)

    found = PrecisionRecall(PRCOptions(neighbours=2)).measure(features(drawn), features(real))
    precision, recall = covered(drawn, real, 2), covered(real, drawn, 2)
    assert found["precision"].value == pytest.approx(precision)
    assert found["recall"].value == pytest.approx(recall)
    assert found["f-score"].value == pytest.approx(2 * precision * recall / (precision + recall))
    assert all(one.higher_is_better for one in found.values())


def test_inception_score_of_sure_and_varied_answers_is_the_number_of_classes(features):
    answers = torch.eye(5).repeat(40, 1) * 100
    [(name, found)] = InceptionScore(ISCOptions(splits=1)).measure(features(answers), features(answers)).items()
    assert (name, found.higher_is_better) == ("isc", True)
    assert found.value == pytest.approx(5, rel=1e-6)
    unsure = torch.zeros(200, 5)
    assert InceptionScore(ISCOptions()).measure(features(unsure), features(unsure))["isc"].value == pytest.approx(1)


def test_a_number_is_called_after_inception_only_on_inceptions_features(features):
    sets = features(torch.randn(20, 2)), features(torch.randn(20, 2))
    for options, name in [
        ({}, "fid"),
        ({"point": "2048"}, "fid"),
        ({"point": "768"}, "fd"),
        ({"extractor": "inception:pretrained=false"}, "fd"),
        ({"extractor": "timm"}, "fd"),
    ]:
        assert list(FrechetDistance(FIDOptions(**options)).measure(*sets)) == [name]
    kid = KernelDistance(KIDOptions(extractor="timm", count=20, subset_size=20, subsets=1))
    assert list(kid.measure(*sets)) == ["kd"]


@pytest.mark.parametrize(
    ("probe", "count", "lines"),
    [
        (
            KernelDistance(KIDOptions(count=50, subset_size=50)),
            20,
            [
                "subsets of 50 images cannot be taken from 20",
                "  in: option subset_size of kid",
                "  try: subset_size=20 or less",
            ],
        ),
        (
            PrecisionRecall(PRCOptions()),
            3,
            [
                "3 images do not have 3 neighbours each",
                "  in: option neighbours of prc",
                "  try: more images, with count=",
            ],
        ),
        (
            InceptionScore(ISCOptions()),
            9,
            [
                "9 images cannot be divided into 10 parts",
                "  in: option splits of isc",
                "  try: splits=9 or less, or more images with count=",
            ],
        ),
    ],
)
def test_too_few_images(features, probe, count, lines):
    with pytest.raises(UsageError) as caught:
        probe.measure(features(torch.randn(count, 4)), features(torch.randn(60, 4)))
    assert str(caught.value).splitlines() == lines


def test_subsets_that_the_number_of_images_does_not_give():
    with pytest.raises(ValueError, match="subsets of 1000 images cannot be taken from count=256"):
        KIDOptions(count=256)
