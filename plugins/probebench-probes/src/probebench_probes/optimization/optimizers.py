"""Optimisers of many heads at once: matrices in which each row has its own learning rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Optimizer(ABC):
    """Updates weights in place.

    Args:
        weights: ``(P, K, D)``.
        rates: Learning rate of each row, ``(K, 1)``.

    Attributes:
        steps: Number of updates so far.
    """

    def __init__(self, weights: Tensor, rates: Tensor) -> None:
        self._weights, self._rates = weights, rates
        self.steps = 0

    def step(self, gradient: Tensor, factor: float) -> None:
        """Performs one update, with all learning rates multiplied by `factor`."""
        self.steps += 1
        self._update(gradient, factor)

    @abstractmethod
    def _update(self, gradient: Tensor, factor: float) -> None:
        """Updates the weights."""


class Adam(Optimizer):
    """Adam, as in `torch.optim.Adam`.

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015.
    """

    def __init__(self, weights: Tensor, rates: Tensor) -> None:
        super().__init__(weights, rates)
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)

    def _update(self, gradient: Tensor, factor: float) -> None:
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size = (self._square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
        self._weights.addcmul_(self._mean / size, self._rates, value=-factor / (1 - BETAS[0] ** self.steps))


class Sgd(Optimizer):
    """Gradient descent with momentum, as in `torch.optim.SGD`: the momentum accumulates gradients, not steps."""

    def __init__(self, weights: Tensor, rates: Tensor, momentum: float) -> None:
        super().__init__(weights, rates)
        self._momentum, self._velocity = momentum, torch.zeros_like(weights)

    def _update(self, gradient: Tensor, factor: float) -> None:
        self._velocity.mul_(self._momentum).add_(gradient)
        self._weights.addcmul_(self._velocity, self._rates, value=-factor)


class ProximalSgd(Sgd):
    """`Sgd` for a loss that contains ``penalty / 2 * weight ** 2``, which the given gradients do not include.

    After each step the weights shrink by the proximal operator of the penalty. The optimum is the same, and the method
    is stable for any penalty, whereas its gradient would need learning rates below ``2 / penalty``.
    Source: Parikh and Boyd, Proximal Algorithms, 2014, section 4.2.

    Args:
        weights: ``(P, K, D)``.
        rates: Learning rate of each row, ``(K, 1)``.
        momentum: From 0 to below 1.
        penalty: Penalty of each weight; of a shape that broadcasts to that of the weights.
    """

    def __init__(self, weights: Tensor, rates: Tensor, momentum: float, penalty: Tensor) -> None:
        super().__init__(weights, rates, momentum)
        # With momentum, a constant gradient moves the weights 1 / (1 - momentum) times as far as one step of it.
        self._shrinkage = penalty * rates / (1 - momentum)

    def _update(self, gradient: Tensor, factor: float) -> None:
        super()._update(gradient, factor)
        self._weights.div_(1 + factor * self._shrinkage)
