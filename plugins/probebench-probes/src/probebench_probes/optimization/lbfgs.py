"""L-BFGS for several convex problems at once, each with its own history, line search and end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vecdot, vector_norm

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Maps points ``(h, P)`` and the numbers ``(h,)`` of their problems to values ``(h,)``, gradients ``(h, P)``, and
estimates of the inverse of the Hessian's diagonal, up to a factor, ``(h, P)``; all are float64."""

MEMORY = 10
"""Number of steps in the history, as in SciPy."""

TOLERANCE = 1e-8
"""A problem has converged when its next step would lower the value by less than this share of it."""

NOISE = 1e-7
"""Share of the value that may be rounding, where the objective computes in float32."""

DECREASE, SLOPE = 1e-4, 0.8
"""A step is accepted if it achieves this share of the decrease that the slope predicts (Armijo), or, where rounding
hides the decrease, if the slope at its end is no steeper upwards than this share of the slope at its start."""

ATTEMPTS = 20
"""Number of lengths that are tried for a step. Shorter steps change the value by less than rounding."""


@dataclass(frozen=True, slots=True)
class Minima:
    """The last points of the problems.

    Attributes:
        points: float64 ``(H, P)``.
        values: float64 ``(H,)``.
        gradient_norms: Euclidean norms of the gradients, float64 ``(H,)``.
        converged: Whether `TOLERANCE` was reached, bool ``(H,)``.
    """

    points: Tensor
    values: Tensor
    gradient_norms: Tensor
    converged: Tensor


def minimise(objective: Objective, start: Tensor, *, steps: int) -> Minima:
    """Minimises convex functions; each step evaluates the objective once for all problems.

    The problems share only the evaluations: each takes the steps that it would take alone, up to rounding. A problem
    that has converged is not evaluated again.

    Source: Nocedal and Wright, Numerical Optimization, 2nd edition, algorithms 7.4 and 7.5. The test for steps whose
    decrease is hidden by rounding is that of Hager and Zhang, A New Conjugate Gradient Method with Guaranteed Descent
    and an Efficient Line Search, SIAM Journal on Optimization 16, 2005.

    Args:
        objective: Function to minimise. Values are positive, or 0 where the gradient is 0.
        start: float64 ``(H, P)``.
        steps: Maximum number of steps of each problem.
    """
    number = torch.arange(len(start), device=start.device)
    value, gradient, scaling = objective(start, number)
    minima = Minima(start.clone(), value.clone(), vector_norm(gradient, dim=1), torch.zeros_like(value).bool())
    active = _Problems(number, start.clone(), value, gradient, scaling, deque(maxlen=MEMORY))
    for left in range(steps, -1, -1):
        direction = active.direction()
        slope = vecdot(active.gradient, direction)
        unsolved = -slope / 2 > TOLERANCE * active.value
        minima.converged[active.number[~unsolved]] = True
        if not left or not bool(unsolved.any()):
            break
        active = active.select(unsolved)
        moved = active.move(objective, direction[unsolved], slope[unsolved])
        active = active.select(moved)
        minima.points[active.number] = active.point
        minima.values[active.number] = active.value
        minima.gradient_norms[active.number] = vector_norm(active.gradient, dim=1)
    return minima


@dataclass(slots=True)
class _Problems:
    """Problems that have not converged: their numbers, current points, and latest steps and gradient changes."""

    number: Tensor
    point: Tensor
    value: Tensor
    gradient: Tensor
    scaling: Tensor
    history: deque[tuple[Tensor, Tensor, Tensor]]

    def select(self, keep: Tensor) -> _Problems:
        """Returns some of the problems; ``keep`` is bool ``(h,)``."""
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
        """Returns minus the approximate inverse Hessian times the gradient, by the two-loop recursion."""
        direction, shares = -self.gradient, []
        for step, change, inverse in reversed(self.history):
            shares.append(inverse * vecdot(step, direction))
            direction -= shares[-1][:, None] * change
        direction *= self.scaling
        if self.history:
            _, change, inverse = self.history[-1]
            size = inverse * vecdot(change, self.scaling * change)
            direction /= torch.where(size > 0, size, 1.0)[:, None]
        for step, change, inverse in self.history:
            direction += (shares.pop() - inverse * vecdot(change, direction))[:, None] * step
        return direction

    def move(self, objective: Objective, direction: Tensor, slope: Tensor) -> Tensor:
        """Moves each point along its direction; returns which line searches succeeded, bool ``(h,)``."""
        point, value, gradient, scaling = (one.clone() for one in (self.point, self.value, self.gradient, self.scaling))
        length = torch.ones_like(slope)
        pending = torch.arange(len(slope), device=slope.device)
        for _ in range(ATTEMPTS):
            tried, old_value, old_slope = length[pending], self.value[pending], slope[pending]
            new_point = self.point[pending] + tried[:, None] * direction[pending]
            new_value, new_gradient, new_scaling = objective(new_point, self.number[pending])
            new_slope = vecdot(new_gradient, direction[pending])
            lower = new_value <= old_value + DECREASE * tried * old_slope
            accepted = lower | ((new_value <= old_value + NOISE * old_value) & (new_slope <= -SLOPE * old_slope))
            done = pending[accepted]
            point[done], value[done], gradient[done], scaling[done] = (
                new_point[accepted],
                new_value[accepted],
                new_gradient[accepted],
                new_scaling[accepted],
            )
            # The minimum of the parabola with the slopes at both ends, kept away from both ends.
            length[pending] = tried * (old_slope / (old_slope - new_slope)).clamp(0.1, 0.5)
            pending = pending[~accepted]
            if not len(pending):
                break
        step, change = point - self.point, gradient - self.gradient
        product = vecdot(step, change)
        self.history.append((step, change, torch.where(product > 0, 1 / product, 0.0)))
        self.point, self.value, self.gradient, self.scaling = point, value, gradient, scaling
        moved = torch.ones_like(slope, dtype=torch.bool)
        moved[pending] = False
        return moved
