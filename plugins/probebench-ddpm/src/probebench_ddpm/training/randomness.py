"""The random numbers of a training. They depend on the seed and the step, not on the number of processes or parts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch

from probebench.api import hash63
from probebench_ddpm.networks.scaling import to_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


class StepInputs(NamedTuple):
    """The batch of one step, on the CPU.

    Attributes:
        clean: float32 ``(B, 3, H, W)``, some images mirrored.
        noise: float32, of the same shape.
        t: int64 ``(B,)``.
    """

    clean: Tensor
    noise: Tensor
    t: Tensor


def epoch_order(count: int, *, seed: int, epoch: int) -> Tensor:
    """Returns the order of the images in an epoch: int64 ``(count,)``."""
    return torch.randperm(count, generator=_generator("order", seed, epoch))


def fixed_order(count: int, purpose: str) -> Tensor:
    """Returns a permutation that is the same in all trainings: int64 ``(count,)``."""
    return torch.randperm(count, generator=_generator(purpose))


def step_inputs(images: Tensor, *, steps: int, flips: bool, seed: int, step: int, scale: float = 1.0) -> StepInputs:
    """Samples flips, t and noise of a whole batch, in fp32.

    A process that computes a part of the batch samples all of it too: noise is cheap compared with the network.

    Args:
        images: uint8 ``(B, 3, H, W)``.
        steps: Number of steps of the forward process.
        flips: Whether mirrored images still belong to the dataset.
        seed: Seed of the training.
        step: Number of the optimiser step.
        scale: Scale of the network's input.
    """
    generator = _generator("step", seed, step)
    clean = to_input(images, scale)
    if flips:
        mirrored = torch.rand(len(clean), generator=generator) < 0.5
        clean = torch.where(mirrored.view(-1, 1, 1, 1), clean.flip(-1), clean)
    t = torch.randint(steps, (len(clean),), generator=generator)
    return StepInputs(clean, torch.randn(clean.shape, generator=generator), t)


@contextmanager
def seeded_dropout(device: torch.device, *, seed: int, step: int, start: int) -> Iterator[None]:
    """Seeds torch's global generator, which dropout uses, for a part of a step, and restores it afterwards.

    Args:
        device: Device of the network.
        seed: Seed of the training.
        step: Number of the optimiser step.
        start: Position in the batch at which the part begins.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(hash63("dropout", seed, step, *([start] if start else [])))
        yield


def _generator(*parts: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(hash63(*parts))
