"""The network that computes, in training, beside the weights that are kept."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import Module

if TYPE_CHECKING:
    from diffusers import UNet2DModel
    from torch import Tensor

    from probebench.api import Precision


class Worker:
    """The network that computes: the master's own weights in fp32, or a copy of them in bf16.

    A copy halves what every layer reads and writes, and spares the casts of autocast: 15 % of a step on a CPU with AMX.
    The optimiser sees fp32 weights and gradients only, so small updates are not lost to rounding.
    """

    def __init__(self, master: UNet2DModel, precision: Precision) -> None:
        self._master: list[Tensor] = list(master.parameters())
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._network = master
        self._own: list[Tensor] = []
        if precision == "bf16":
            # Not the method of diffusers, which warns of layers that want fp32 even where there are none.
            self._network = Module.to(copy.deepcopy(master), torch.bfloat16)
            self._own = list(self._network.parameters())
        self._network.train()

    def predict(self, noised: Tensor, t: Tensor) -> Tensor:
        """The network's output in fp32."""
        return cast("Tensor", self._network(noised.to(self._dtype), t).sample.float())

    def backward(self, loss: Tensor) -> None:
        """Adds the loss' gradients, in fp32, to those on the master's weights."""
        loss.backward()  # type: ignore[no-untyped-call]
        if self._own:
            for weight, own in zip(self._master, self._own, strict=True):
                gradient, own.grad = cast("Tensor", own.grad).float(), None
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)

    def clear(self) -> None:
        """Forgets the gradients."""
        for weight in self._master:
            weight.grad = None

    def refresh(self) -> None:
        """Takes over the master's weights after they have changed."""
        with torch.no_grad():
            if self._own:
                torch._foreach_copy_(self._own, self._master)
