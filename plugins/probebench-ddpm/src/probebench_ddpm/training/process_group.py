"""The processes that train one network, through Accelerate: each works on its part of every batch.

All draw the whole batch, so that noise, t and mirrors of an image do not depend on their number; gradients are added
up, and every process takes the same step. One alone needs no Accelerate.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from probebench.api import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor
    from torch.nn import Parameter

    from probebench.api import TrainingJob


class Team:
    """One process, or one of several.

    Args:
        state: `accelerate.PartialState` of several; None for one alone.
    """

    def __init__(self, state: Any = None) -> None:  # noqa: ANN401 - its class may not be installed
        self._state = state
        self.index = state.process_index if state else 0
        self.count = state.num_processes if state else 1

    @property
    def main(self) -> bool:
        """Whether this process averages, measures and writes."""
        return self.index == 0

    def main_first(self) -> AbstractContextManager[None]:
        """A block that the main process goes through before the others."""
        return self._state.main_process_first() if self._state else nullcontext()

    def add_up(self, weights: Sequence[Parameter], loss: Tensor) -> Tensor:
        """Adds up gradients, in place, and losses of all processes.

        Args:
            weights: Each has a gradient.
            loss: Of this process' part.

        Returns:
            The batch's loss.
        """
        if not self._state:
            return loss
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        # One message and not one for each of hundreds of tensors.
        total = self._sum(torch.cat([loss.view(1), *(gradient.flatten() for gradient in gradients)]))
        parts = torch.split(total[1:], [gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, parts, strict=True):
            gradient.copy_(summed.view_as(gradient))
        return total[0]

    def any(self, wish: bool) -> bool:
        """Whether it is the wish of one process at least: all have to stop at the same step."""
        if not self._state:
            return wish
        return bool(self._sum(torch.tensor([float(wish)], device=self._state.device)).item())

    def _sum(self, tensor: Tensor) -> Tensor:
        from accelerate.utils import reduce

        summed: Tensor = reduce(tensor, reduction="sum")
        return summed


@contextmanager
def joined(job: TrainingJob) -> Iterator[Team]:
    """This process' team, which lasts as long as the block.

    Raises:
        UsageError: There are several processes and no Accelerate.
    """
    if job.processes == 1:
        yield Team()
        return
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise UsageError(
            f"training in {job.processes} processes needs accelerate, which is not installed",
            where="--num-processes",
            hint="pip install 'probebench-ddpm[accelerate]'",
        ) from error
    state = PartialState(cpu=torch.device(job.device).type == "cpu")
    try:
        yield Team(state)
    finally:
        state.destroy_process_group()
