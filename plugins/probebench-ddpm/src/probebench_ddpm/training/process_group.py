"""The processes that train one network together, through Accelerate: each computes a part of every batch.

Every process samples the random numbers of the whole batch, so noise, t and flips of an image do not depend on the
number of processes. Gradients are summed, and all processes take the same step. One process alone does not need
Accelerate.
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


class ProcessGroup:
    """A process and those that train with it.

    Args:
        state: `accelerate.PartialState`; None for one process alone.

    Attributes:
        rank: Number of this process, from 0.
        world_size: Number of processes.
    """

    def __init__(self, state: Any = None) -> None:  # noqa: ANN401 - its class may not be installed
        self._state = state
        self.rank = state.process_index if state else 0
        self.world_size = state.num_processes if state else 1

    @property
    def is_main(self) -> bool:
        """Whether this process averages weights, measures losses and writes files."""
        return self.rank == 0

    def main_process_first(self) -> AbstractContextManager[None]:
        """Returns a context that the main process leaves before the others enter it."""
        return self._state.main_process_first() if self._state else nullcontext()

    def sum_gradients(self, weights: Sequence[Parameter], loss: Tensor) -> Tensor:
        """Sums gradients, in place, and losses over all processes.

        Args:
            weights: The weights with their gradients.
            loss: Loss of this process' part of the batch.

        Returns:
            The batch's loss.
        """
        if not self._state:
            return loss
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        # One message in place of one for each of hundreds of tensors.
        total = self._sum(torch.cat([loss.view(1), *(gradient.flatten() for gradient in gradients)]))
        parts = torch.split(total[1:], [gradient.numel() for gradient in gradients])
        for gradient, summed in zip(gradients, parts, strict=True):
            gradient.copy_(summed.view_as(gradient))
        return total[0]

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is true in any process. All processes have to stop at the same step."""
        if not self._state:
            return flag
        return bool(self._sum(torch.tensor([float(flag)], device=self._state.device)).item())

    def _sum(self, tensor: Tensor) -> Tensor:
        from accelerate.utils import reduce

        summed: Tensor = reduce(tensor, reduction="sum")
        return summed


@contextmanager
def process_group(job: TrainingJob) -> Iterator[ProcessGroup]:
    """Joins the process group of a training, and leaves it at the end of the block.

    Raises:
        UsageError: There are several processes, and Accelerate is not installed.
    """
    if job.processes == 1:
        yield ProcessGroup()
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
        yield ProcessGroup(state)
    finally:
        state.destroy_process_group()
