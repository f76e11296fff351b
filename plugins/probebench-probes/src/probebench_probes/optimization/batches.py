"""The batches of each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api import hash63

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


def batches(images: int, batch_size: int, epoch: int, *, seed: int) -> Iterator[Tensor]:
    """Yields the positions of each batch of an epoch, int64 on the CPU; every image occurs once."""
    generator = torch.Generator().manual_seed(hash63("batches", seed, epoch))
    yield from torch.split(torch.randperm(images, generator=generator), batch_size)
