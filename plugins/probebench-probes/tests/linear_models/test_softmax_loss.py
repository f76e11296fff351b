"""The objective against float64 autograd, also where differences from 1 vanish in float32."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

import probebench_probes.linear_models.softmax_loss as module
from probebench_probes.linear_models.softmax_loss import SoftmaxLoss


def problem(heads: int = 3, images: int = 40, dimensions: int = 6, classes: int = 4):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(images, dimensions, generator=generator)
    labels = torch.randint(0, classes, (images,), generator=generator)
    penalties = torch.rand(heads, dimensions, generator=generator, dtype=torch.float64)
    points = torch.randn(heads, classes * dimensions, generator=generator, dtype=torch.float64)
    return rows, labels, classes, penalties, points


def reference(rows, labels, classes, penalties, points):
    """Values and gradients by autograd, float64."""
    points = points.clone().requires_grad_()
    weights = points.view(len(points), classes, -1)
    losses = torch.stack([cross_entropy(rows.double() @ head.T, labels) for head in weights])
    values = losses + (penalties[:, None] * weights.square()).sum((1, 2)) / 2
    return values.detach(), torch.autograd.grad(values.sum(), points)[0]


@pytest.mark.parametrize("part_bytes", [1 << 20, 100])
def test_values_and_gradients_are_those_of_autograd(part_bytes, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", part_bytes)
    rows, labels, classes, penalties, points = problem()
    values, gradients, _ = SoftmaxLoss(rows, labels, classes, penalties)(points, torch.arange(3))
    expected, slopes = reference(rows, labels, classes, penalties, points)
    assert torch.allclose(values, expected, rtol=1e-6)
    assert torch.allclose(gradients, slopes, atol=1e-6)


def test_heads_can_be_evaluated_in_any_selection():
    rows, labels, classes, penalties, points = problem()
    loss = SoftmaxLoss(rows, labels, classes, penalties)
    every, some = loss(points, torch.arange(3)), loss(points[[2, 0]], torch.tensor([2, 0]))
    for one, other in zip(every, some, strict=True):
        assert torch.allclose(one[[2, 0]], other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("margin", [20.0, 40.0])
def test_small_losses_keep_their_digits(margin):
    # 1 - p has no correct digit in float32 from a margin of 17 on, and none in float64 from 37 on.
    points = torch.tensor([[margin, 0.5, 0.25], [0.0, margin, 0.75], [0.5, 0.0, margin]], dtype=torch.float64)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    loss = SoftmaxLoss(torch.eye(3), torch.arange(3), 3, zero)
    values, gradients, _ = loss(points.view(1, -1), torch.tensor([0]))
    others = (points - points.diagonal()).fill_diagonal_(-torch.inf).exp()  # column i is image i
    assert torch.allclose(values, others.sum(0).log1p().mean(), rtol=1e-5, atol=0)
    residuals = others / (1 + others.sum(0))
    residuals -= residuals.sum(0).diag()
    assert torch.allclose(gradients.view(3, 3), residuals / 3, rtol=1e-5, atol=0)


def test_a_very_wrong_image_has_a_finite_loss():
    rows, labels = torch.ones(1, 1), torch.tensor([1])
    points = torch.tensor([[500.0, -500.0]], dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    values, gradients, inverse = SoftmaxLoss(rows, labels, 2, zero)(points, torch.tensor([0]))
    assert float(values) == pytest.approx(1000)
    assert gradients.tolist() == [pytest.approx([1, -1])]
    assert inverse.isfinite().all()


def test_the_curvature_is_the_mean_diagonal_of_the_hessian_over_classes():
    rows, labels, classes, penalties, points = problem(heads=1)
    rows = rows.sign()  # all squares are 1, so that the average over images and columns is one over images
    _, _, inverse = SoftmaxLoss(rows, labels, classes, penalties)(points, torch.tensor([0]))

    def value(point):
        weights = point.view(classes, -1)
        return cross_entropy(rows.double() @ weights.T, labels)

    diagonal = torch.autograd.functional.hessian(value, points[0]).diagonal().view(classes, -1).mean(0)
    assert torch.allclose(1 / inverse[0].view(classes, -1)[0], diagonal + penalties[0], rtol=1e-5)
