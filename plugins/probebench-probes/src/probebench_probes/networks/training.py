"""The training loop of the networks: deterministic on one device."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

from probebench_probes.optimization.batches import batches
from probebench_probes.optimization.schedules import rate_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from probebench.api import Precision
    from probebench_probes.options import TrainingOptions


@contextmanager
def deterministic_autocast(device: str, precision: Precision) -> Iterator[None]:
    """Computes in the run's precision, with convolutions that always add up in the same order."""
    kind = torch.device(device).type
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    # Without cache: it would keep the weights of the first step, cast to bf16, until the context ends.
    cast = torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
    with deterministic, cast:
        yield


def build_seeded(make: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """Builds a network whose initial weights depend on the seed alone; the global random state does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train_network(
    network: nn.Module,
    labels: Tensor,
    inputs: Callable[[Tensor, int], Tensor],
    options: TrainingOptions,
    *,
    learning_rate: float,
    seed: int,
    device: str,
    precision: Precision,
) -> bool:
    """Minimises the cross-entropy of a network, in place.

    Args:
        network: On the CPU. It is moved to the device, and is in eval mode afterwards.
        labels: int64 ``(N,)``.
        inputs: Maps row indices and the epoch to the inputs of the network, on the device.
        options: Optimiser, schedule, epochs and batch size.
        learning_rate: Initial learning rate.
        seed: Seed of the batches.
        device: Device to compute on.
        precision: Precision of the forward and backward pass; weights are float32.

    Returns:
        Whether the last loss and all weights are finite.
    """
    network.to(device).train()
    optimizer: SGD | AdamW
    if options.optimizer == "sgd":
        optimizer = SGD(network.parameters(), learning_rate, options.momentum, weight_decay=options.weight_decay)
    else:
        optimizer = AdamW(network.parameters(), learning_rate, weight_decay=options.weight_decay)
    labels = labels.to(device)
    steps, step = options.epochs * math.ceil(len(labels) / options.batch_size), 0
    with torch.enable_grad(), deterministic_autocast(device, precision):
        for epoch in range(options.epochs):
            for index in batches(len(labels), options.batch_size, epoch, seed=seed):
                factor = rate_factor(options.schedule, epoch=epoch, epochs=options.epochs, step=step, steps=steps)
                optimizer.param_groups[0]["lr"] = learning_rate * factor
                logits = network(inputs(index, epoch))
                optimizer.zero_grad()
                loss = cross_entropy(logits.float(), labels[index.to(device)])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
    network.eval().requires_grad_(requires_grad=False)
    return bool(loss.isfinite()) and all(bool(weight.isfinite().all()) for weight in network.parameters())
