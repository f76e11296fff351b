"""L-BFGS for several convex problems at once, each with a history, a line search and an end of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vecdot, vector_norm

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Takes points ``(h, P)`` and the numbers ``(h,)`` of the problems that they belong to; gives values ``(h,)``,
gradients ``(h, P)``, and guesses of the inverse of the Hessian's diagonal, up to a factor, ``(h, P)``; all float64."""

MEMORY = 10
"""Steps whose change of the gradient is kept, as in SciPy."""

TOLERANCE = 1e-8
"""A problem is solved when its next step promises to lower the value by less than this share of it."""

NOISE = 1e-7
"""Share of the value that may be rounding, where the objective computes in float32."""

DECREASE, SLOPE = 1e-4, 0.8
"""A step is taken if it keeps this share of the decrease that the slope promises (Armijo), or, where that drowns in
rounding, if the slope at its end is no steeper upwards than this share of the slope at its start."""

ATTEMPTS = 20
"""Lengths tried for a step. Past them rounding is all that is left to see."""


@dataclass(frozen=True, slots=True)
class Minima:
    """Where the problems ended.

    Attributes:
        points: float64 ``(H, P)``.
        values: float64 ``(H,)``.
        slopes: Euclidean norms of the gradients, float64 ``(H,)``.
        solved: Whether `TOLERANCE` was reached, bool ``(H,)``.
    """

    points: Tensor
    values: Tensor
    slopes: Tensor
    solved: Tensor


def minimise(objective: Objective, start: Tensor, *, steps: int) -> Minima:
    """Minimises convex functions, with one evaluation of the objective for a step of all of them.

    Problems share nothing but the evaluations: each one's way is what it would be alone, up to rounding. Those that are
    solved leave, so that the others cost less.

    Source: Nocedal and Wright, Numerical Optimization, 2nd edition, algorithms 7.4 and 7.5. The test for steps that
    drown in rounding is that of Hager and Zhang, A New Conjugate Gradient Method with Guaranteed Descent and an
    Efficient Line Search, SIAM Journal on Optimization 16, 2005.

    Args:
        objective: What to minimise. Values are positive, or 0 where the gradient is.
        start: float64 ``(H, P)``.
        steps: Most steps of a problem.
    """
    number = torch.arange(len(start), device=start.device)
    value, gradient, scaling = objective(start, number)
    minima = Minima(start.clone(), value.clone(), vector_norm(gradient, dim=1), torch.zeros_like(value).bool())
    under_way = _Problems(number, start.clone(), value, gradient, scaling, deque(maxlen=MEMORY))
    for left in range(steps, -1, -1):
        direction = under_way.direction()
        slope = vecdot(under_way.gradient, direction)
        unsolved = -slope / 2 > TOLERANCE * under_way.value
        minima.solved[under_way.number[~unsolved]] = True
        if not left or not bool(unsolved.any()):
            break
        under_way = under_way.only(unsolved)
        moved = under_way.move(objective, direction[unsolved], slope[unsolved])
        under_way = under_way.only(moved)
        minima.points[under_way.number] = under_way.point
        minima.values[under_way.number] = under_way.value
        minima.slopes[under_way.number] = vector_norm(under_way.gradient, dim=1)
    return minima


@dataclass(slots=True)
class _Problems:
    """Problems under way: their numbers, where they are, and the latest steps with the change of the gradient."""

    number: Tensor
    point: Tensor
    value: Tensor
    gradient: Tensor
    scaling: Tensor
    history: deque[tuple[Tensor, Tensor, Tensor]]

    def only(self, keep: Tensor) -> _Problems:
        """Some of them."""
        if bool(keep.all()):
            return self
        return _Problems(
            self.number[keep],
            self.point[keep],
            self.value[keep],
            self.gradient[keep],
            self.scaling[keep],
            deque(((step[keep], change[keep], inverse[keep]) for step, change, inverse in self.history), MEMORY),
        )

    def direction(self) -> Tensor:
        """Minus the gradient times the inverse Hessian, as far as scaling and history tell: the two-loop recursion."""
        towards, shares = -self.gradient, []
        for step, change, inverse in reversed(self.history):
            shares.append(inverse * vecdot(step, towards))
            towards -= shares[-1][:, None] * change
        towards *= self.scaling
        if self.history:
            _, change, inverse = self.history[-1]
            size = inverse * vecdot(change, self.scaling * change)
            towards /= torch.where(size > 0, size, 1.0)[:, None]
        for step, change, inverse in self.history:
            towards += (shares.pop() - inverse * vecdot(change, towards))[:, None] * step
        return towards

    def move(self, objective: Objective, direction: Tensor, slope: Tensor) -> Tensor:
        """One step of each along its direction; tells which could be taken."""
        point, value, gradient, scaling = (one.clone() for one in (self.point, self.value, self.gradient, self.scaling))
        length = torch.ones_like(slope)
        waiting = torch.arange(len(slope), device=slope.device)
        for _ in range(ATTEMPTS):
            reach, before, downhill = length[waiting], self.value[waiting], slope[waiting]
            there = self.point[waiting] + reach[:, None] * direction[waiting]
            found, uphill, guess = objective(there, self.number[waiting])
            end = vecdot(uphill, direction[waiting])
            lower = found <= before + DECREASE * reach * downhill
            good = lower | ((found <= before + NOISE * before) & (end <= -SLOPE * downhill))
            done = waiting[good]
            point[done], value[done], gradient[done], scaling[done] = (
                there[good],
                found[good],
                uphill[good],
                guess[good],
            )
            # The minimum of the parabola with the slopes at both ends, or nearly where that is too near one of them.
            length[waiting] = reach * (downhill / (downhill - end)).clamp(0.1, 0.5)
            waiting = waiting[~good]
            if not len(waiting):
                break
        step, change = point - self.point, gradient - self.gradient
        product = vecdot(step, change)
        self.history.append((step, change, torch.where(product > 0, 1 / product, 0.0)))
        self.point, self.value, self.gradient, self.scaling = point, value, gradient, scaling
        moved = torch.ones_like(slope, dtype=torch.bool)
        moved[waiting] = False
        return moved
