"""Mixed precision: a bf16 copy of the network computes, and the weights that are kept stay in fp32."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch.nn import Module

if TYPE_CHECKING:
    from diffusers import UNet2DModel
    from torch import Tensor

    from probebench.api import Precision


class MixedPrecision:
    """Forward and backward pass in the precision of the training: of the network itself in fp32, of a copy in bf16.

    A copy halves the memory that every layer reads and writes, and avoids the casts of autocast: 15 % of a step on a
    CPU with AMX. The optimiser only uses fp32 weights and gradients, so small updates are not lost to rounding.

    Args:
        network: The network with the fp32 weights that are kept.
        precision: Precision of the passes.
    """

    def __init__(self, network: UNet2DModel, precision: Precision) -> None:
        self._weights: list[Tensor] = list(network.parameters())
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._network = network
        self._copied_weights: list[Tensor] = []
        if precision == "bf16":
            # Not the method of diffusers, which warns about modules to keep in fp32, of which there are none here.
            self._network = Module.to(copy.deepcopy(network), torch.bfloat16)
            self._copied_weights = list(self._network.parameters())
        self._network.train()

    def predict(self, noised: Tensor, t: Tensor) -> Tensor:
        """Returns the network's output in fp32."""
        return cast("Tensor", self._network(noised.to(self._dtype), t).sample.float())

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of the loss to those of the fp32 weights."""
        loss.backward()  # type: ignore[no-untyped-call]
        if self._copied_weights:
            for weight, copied in zip(self._weights, self._copied_weights, strict=True):
                gradient, copied.grad = cast("Tensor", copied.grad).float(), None
                weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)

    def zero_grad(self) -> None:
        """Removes the gradients."""
        for weight in self._weights:
            weight.grad = None

    def copy_weights(self) -> None:
        """Copies the fp32 weights into the bf16 copy; call it after they have changed."""
        with torch.no_grad():
            if self._copied_weights:
                torch._foreach_copy_(self._copied_weights, self._weights)
