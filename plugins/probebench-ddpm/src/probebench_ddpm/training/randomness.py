"""Everything random in a training. It depends on seed and step alone, never on who works on which part."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch

from probebench.api import hash63
from probebench_ddpm.networks.scaling import to_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class Drawn(NamedTuple):
    """A batch of one step, on the CPU.

    Attributes:
        clean: float32 ``(B, 3, H, W)``, some images mirrored.
        noise: float32, of the same shape.
        t: int64 ``(B,)``.
    """

    clean: Tensor
    noise: Tensor
    t: Tensor


def order(count: int, *, seed: int, epoch: int) -> Tensor:
    """The order of the images in an epoch: int64 ``(count,)``."""
    return torch.randperm(count, generator=_generator("order", seed, epoch))


def shuffled(count: int, purpose: str) -> Tensor:
    """Numbers from 0 on, in an order that is the same in all trainings: int64 ``(count,)``."""
    return torch.randperm(count, generator=_generator(purpose))


def draw(images: Tensor, *, steps: int, flips: bool, seed: int, step: int, scale: float = 1.0) -> Drawn:
    """Mirrors, noise and t of a whole batch, in fp32.

    A process that works on a part of the batch draws all of it, too: noise costs little beside the network.

    Args:
        images: uint8 ``(B, 3, H, W)``.
        steps: Of the forward process.
        flips: Whether mirrored images still belong to the dataset.
        seed: Of the training.
        step: Number of the optimiser step.
        scale: Of the network's input.
    """
    generator = _generator("step", seed, step)
    clean = to_input(images, scale)
    if flips:
        mirrored = torch.rand(len(clean), generator=generator) < 0.5
        clean = torch.where(mirrored.view(-1, 1, 1, 1), clean.flip(-1), clean)
    t = torch.randint(steps, (len(clean),), generator=generator)
    return Drawn(clean, torch.randn(clean.shape, generator=generator), t)


@contextmanager
def dropout(device: torch.device, *, seed: int, step: int, start: int) -> Iterator[None]:
    """Dropout knows the global generator only: it is seeded for a part of a step, and given back as it was.

    Args:
        device: Where the network is.
        seed: Of the training.
        step: Number of the optimiser step.
        start: Where in the batch the part begins.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(hash63("dropout", seed, step, *([start] if start else [])))
        yield


def _generator(*parts: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(hash63(*parts))
