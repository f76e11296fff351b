"""Training of small networks on features: one plain loop, the same on every call."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW

from probebench_probes.optimization.batches import batches
from probebench_probes.optimization.schedules import factor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from probebench.api import Features, Precision
    from probebench_probes.options import NetworkOptions, TrainingOptions
    from probebench_probes.preprocessing.maps import Maps


@contextmanager
def arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """The run's precision, and convolutions that add up in the same order every time."""
    kind = torch.device(device).type
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    # Without cache: it would keep the weights of the first step, cast, for as long as the context lasts.
    cast = torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)
    with deterministic, cast:
        yield


def build(make: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """A network with the initial weights of PyTorch's layers, drawn from a seed; the global random state is left."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train_network(
    network: nn.Module,
    train: Features,
    maps: Maps,
    options: NetworkOptions,
    *,
    learning_rate: float,
    seed: int,
    device: str,
    precision: Precision,
) -> bool:
    """Minimises the cross-entropy of a network, in place.

    Every epoch goes through all images, in the seed's order, and through another view of them where they have views.

    Args:
        network: On the CPU; it is moved to the device, and left in eval mode.
        train: What to train on.
        maps: How the network reads it.
        options: Optimiser, schedule, epochs and batch size.
        learning_rate: Before the schedule.
        seed: Of the batches.
        device: Where to compute.
        precision: Of the forward and backward pass; weights are float32.

    Returns:
        Whether the last loss and all weights are finite.
    """
    views = train.views or (train.vectors,)

    def inputs(index: Tensor, epoch: int) -> Tensor:
        return maps.read(views[epoch % len(views)][index], device)

    return minimise(
        network,
        train.labels,
        inputs,
        options,
        learning_rate=learning_rate,
        seed=seed,
        device=device,
        precision=precision,
    )


def minimise(
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
    """What `train_network` does, of anything that comes as a network's inputs.

    Args:
        network: On the CPU; it is moved to the device, and left in eval mode.
        labels: int64 ``(N,)``.
        inputs: Gives the inputs of some rows in an epoch, on the device.
        options: Optimiser, schedule, epochs and batch size.
        learning_rate: Before the schedule.
        seed: Of the batches.
        device: Where to compute.
        precision: Of the forward and backward pass; weights are float32.

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
    with torch.enable_grad(), arithmetic(device, precision):
        for epoch in range(options.epochs):
            for index in batches(len(labels), options.batch_size, epoch, seed=seed):
                rate = factor(options.schedule, epoch=epoch, epochs=options.epochs, step=step, steps=steps)
                optimizer.param_groups[0]["lr"] = learning_rate * rate
                logits = network(inputs(index, epoch))
                optimizer.zero_grad()
                loss = cross_entropy(logits.float(), labels[index.to(device)])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
    network.eval().requires_grad_(requires_grad=False)
    return bool(loss.isfinite()) and all(bool(weight.isfinite().all()) for weight in network.parameters())
