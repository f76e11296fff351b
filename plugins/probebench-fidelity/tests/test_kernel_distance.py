"""The kernel distance against closed forms and plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from probebench.api import UsageError
from probebench_fidelity.kernel_distance import KernelDistance
from probebench_fidelity.options import KIDOptions


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
    count, size, subsets = 20_000, 500, 80
    generator = torch.Generator().manual_seed(1)
    first = torch.randn(count, 1, generator=generator)
    second = torch.randn(count, 1, generator=generator) + 1
    moments = {"x": (0.0, 1.0, 0.0), "y": (1.0, 2.0, 4.0)}  # E z, E z^2, E z^3

    def expected(a, b):
        (a1, a2, a3), (b1, b2, b3) = moments[a], moments[b]
        return a3 * b3 + 3 * a2 * b2 + 3 * a1 * b1 + 1

    truth = expected("x", "x") + expected("y", "y") - 2 * expected("x", "y")
    probe = KernelDistance(KIDOptions(count=count, subset_size=size, subsets=subsets))
    [result] = probe.measure(features(first), features(second)).values()
    # Subsets are random choices from these images, which are themselves worth count / size independent subsets.
    error = result.sd * math.sqrt(1 / subsets + size / count)
    assert abs(result.value - truth) < 3.5 * error
    assert error < 0.04 * truth


def test_only_the_distance_of_inceptions_features_is_called_kid(features):
    sets = features(torch.randn(20, 2)), features(torch.randn(20, 2))
    for extractor, name in (("inception", "kid"), ("timm", "kd")):
        probe = KernelDistance(KIDOptions(extractor=extractor, count=20, subset_size=20, subsets=1))
        assert list(probe.measure(*sets)) == [name]


def test_too_few_images(features):
    with pytest.raises(UsageError) as caught:
        KernelDistance(KIDOptions(count=50, subset_size=50)).measure(
            features(torch.randn(20, 4)), features(torch.randn(60, 4))
        )
    assert str(caught.value).splitlines() == [
        "subsets of 50 images cannot be taken from 20",
        "  in: option subset_size of kid",
        "  try: kid:subset_size=20",
    ]


def test_subsets_are_not_larger_than_the_number_of_images():
    with pytest.raises(ValueError, match="subsets of 1000 images cannot be taken from count=256"):
        KIDOptions(count=256)
