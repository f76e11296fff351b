"""Several convex problems at once, against closed forms and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from probebench_probes.optimization.lbfgs import minimise


def quadratics(count: int, size: int, *, condition: float, seed: int = 0):
    """Curvatures ``(H, P, P)`` and minima ``(H, P)``; values at the minima are 1, 2, 3 and so on."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(count, size, size, generator=generator, dtype=torch.float64)).Q
    spread = torch.logspace(0, np.log10(condition), size, dtype=torch.float64)
    return (axes * spread) @ axes.mT, torch.randn(count, size, generator=generator, dtype=torch.float64)


def quadratic_objective(curvatures, minima, evaluated=None):
    def objective(points, numbers):
        if evaluated is not None:
            evaluated.append(numbers.tolist())
        away = points - minima[numbers]
        gradient = (curvatures[numbers] @ away[:, :, None])[:, :, 0]
        inverse = 1 / curvatures[numbers].diagonal(dim1=1, dim2=2)
        return numbers + 1 + (away * gradient).sum(1) / 2, gradient, inverse

    return objective


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4])
def test_quadratics_end_at_their_minima(condition):
    curvatures, minima = quadratics(7, 12, condition=condition)
    found = minimise(quadratic_objective(curvatures, minima), torch.zeros_like(minima), steps=500)
    assert found.converged.all()
    assert torch.allclose(found.values, torch.arange(1.0, 8, dtype=torch.float64), rtol=1e-6)
    assert torch.allclose(found.points, minima, atol=1e-2 if condition > 1e3 else 1e-3)


def test_problems_are_independent_and_are_not_evaluated_after_convergence():
    easy, hard = (quadratics(1, 12, condition=condition) for condition in (1.0, 1e4))
    curvatures, minima = (torch.cat(pair) for pair in zip(easy, hard, strict=True))
    together, alone = [], []
    objective = quadratic_objective(curvatures, minima, together)
    found = minimise(objective, torch.zeros_like(minima), steps=500)
    only = quadratic_objective(curvatures, minima, alone)
    hard_alone = minimise(lambda points, numbers: only(points, numbers + 1), torch.zeros_like(minima[1:]), steps=500)
    assert torch.allclose(found.points[1:], hard_alone.points, rtol=1e-9)
    assert abs(sum(1 in numbers for numbers in together) - len(alone)) <= 1  # rounding may cost a step
    assert sum(0 in numbers for numbers in together) < 5 < len(alone)


def test_a_function_far_from_quadratic_is_minimised_as_by_scipy():
    # cosh is so steep away from 0 that a full step from the start overshoots: the line search has to shorten it.
    shift = torch.tensor([[3.0, -4.0, 5.0], [0.5, 6.0, -2.0]], dtype=torch.float64)
    tilt = torch.tensor([[0.3, -0.2, 0.1], [2.0, -5.0, 0.0]], dtype=torch.float64)

    def objective(points, numbers):
        away, slope = points - shift[numbers], tilt[numbers]
        value = (away.cosh() + slope * away).sum(1) + 20
        return value, away.sinh() + slope, torch.ones_like(away)

    found = minimise(objective, torch.zeros_like(shift), steps=200)
    assert found.converged.all()
    for number in range(2):
        one = torch.tensor([number])

        def function(x, one=one):
            value, gradient, _ = objective(torch.from_numpy(x)[None], one)
            return float(value), gradient[0].numpy()

        reference = minimize(function, np.zeros(3), jac=True, method="BFGS", options={"gtol": 1e-10})
        assert float(found.values[number]) == pytest.approx(reference.fun, rel=1e-7)


def test_too_few_steps_are_reported_with_the_gradient():
    curvatures, minima = quadratics(2, 12, condition=1e4)
    objective = quadratic_objective(curvatures, minima)
    found = minimise(objective, torch.zeros_like(minima), steps=3)
    assert not found.converged.any()
    value, gradient, _ = objective(found.points, torch.arange(2))
    assert torch.allclose(found.values, value, rtol=1e-12)
    assert torch.allclose(found.gradient_norms, gradient.norm(dim=1))


def test_a_start_at_the_minimum_has_converged():
    curvatures, minima = quadratics(3, 4, condition=10)
    evaluated: list[list[int]] = []
    found = minimise(quadratic_objective(curvatures, minima, evaluated), minima, steps=100)
    assert found.converged.all()
    assert len(evaluated) == 1
    assert torch.equal(found.points, minima)
