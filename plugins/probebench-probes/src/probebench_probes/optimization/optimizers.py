"""Optimisers of many heads at once: matrices whose rows have learning rates of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Optimizer(ABC):
    """Changes weights in place.

    Args:
        weights: ``(P, K, D)``.
        rates: Learning rate of each row, ``(K, 1)``.

    Attributes:
        steps: Updates done.
    """

    def __init__(self, weights: Tensor, rates: Tensor) -> None:
        self._weights, self._rates = weights, rates
        self.steps = 0

    def step(self, gradient: Tensor, factor: float) -> None:
        """One update, with all learning rates times `factor`."""
        self.steps += 1
        self._update(gradient, factor)

    @abstractmethod
    def _update(self, gradient: Tensor, factor: float) -> None:
        """Changes the weights."""


class Adam(Optimizer):
    """Source: Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015."""

    def __init__(self, weights: Tensor, rates: Tensor) -> None:
        super().__init__(weights, rates)
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)

    def _update(self, gradient: Tensor, factor: float) -> None:
        self._mean.lerp_(gradient, 1 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        size = (self._square / (1 - BETAS[1] ** self.steps)).sqrt_().add_(EPSILON)
        self._weights.addcmul_(self._mean / size, self._rates, value=-factor / (1 - BETAS[0] ** self.steps))


class Sgd(Optimizer):
    """Gradient descent with momentum as `torch.optim.SGD` has it: the momentum holds gradients, not steps."""

    def __init__(self, weights: Tensor, rates: Tensor, momentum: float) -> None:
        super().__init__(weights, rates)
        self._momentum, self._velocity = momentum, torch.zeros_like(weights)

    def _update(self, gradient: Tensor, factor: float) -> None:
        self._velocity.mul_(self._momentum).add_(gradient)
        self._weights.addcmul_(self._velocity, self._rates, value=-factor)


class ProximalSgd(Sgd):
    """`Sgd` for a loss with ``penalty / 2 * weight ** 2`` in it, which is not part of the gradients that it is given.

    After each step the weights shrink by as much as the penalty asks for there. That leads to the same optimum, and is
    stable however large a penalty is, where its gradient would have to be followed in steps below ``2 / penalty``.
    Source: Parikh and Boyd, Proximal Algorithms, 2014, section 4.2.

    Args:
        weights: ``(P, K, D)``.
        rates: Learning rate of each row, ``(K, 1)``.
        momentum: From 0 to below 1.
        penalty: Of each weight; of a shape that broadcasts to theirs.
    """

    def __init__(self, weights: Tensor, rates: Tensor, momentum: float, penalty: Tensor) -> None:
        super().__init__(weights, rates, momentum)
        # A gradient that stays the same is followed 1 / (1 - momentum) times as far as its own step.
        self._pull = penalty * rates / (1 - momentum)

    def _update(self, gradient: Tensor, factor: float) -> None:
        super()._update(gradient, factor)
        self._weights.div_(1 + factor * self._pull)
