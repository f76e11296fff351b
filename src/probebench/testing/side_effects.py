"""Watches for side effects: random state, network, weights and hooks."""

from __future__ import annotations

import hashlib
import pickle
import random
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from probebench.testing.checks.contract import demand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Value = TypeVar("Value")


def _random_states() -> dict[str, bytes]:
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": pickle.dumps(np.random.get_state()),
        "random": repr(random.getstate()).encode(),
    }


@contextmanager
def _random_state_kept() -> Iterator[None]:
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


def without_random_state(work: Callable[[], Value], same: Callable[[Value, Value], bool]) -> None:
    """Demands that some work neither changes nor reads the global random state of torch, numpy or random.

    Args:
        work: What to watch. It is called three times, the first time to let its imports happen.
        same: Tells whether two results are equal.
    """
    hint = "draw from a local generator, such as api.normal or torch.Generator().manual_seed(api.hash63(...))"
    with _random_state_kept():
        work()
        results = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = _random_states()
            results.append(work())
            for name, state in _random_states().items():
                demand(state == before[name], f"the global random state of {name} has changed", hint=hint)
        demand(same(*results), "results depend on the global random state", hint=hint)


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Blocks the network, and lists what tried to use it."""
    attempts: list[str] = []

    def refuse(*args: object, **_: object) -> None:
        attempts.append(repr(args[-1]) if args else "?")
        raise OSError("the network is blocked during this check")

    with (
        mock.patch.object(socket.socket, "connect", refuse),
        mock.patch.object(socket.socket, "connect_ex", refuse),
        mock.patch.object(socket, "create_connection", refuse),
        mock.patch.object(socket, "getaddrinfo", refuse),
    ):
        yield attempts


def modules(component: object) -> list[nn.Module]:
    """The torch modules a component holds in its attributes, or is itself."""
    if isinstance(component, nn.Module):
        return [component]
    found: list[nn.Module] = []
    for value in vars(component).values():
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        found += [item for item in inner if isinstance(item, nn.Module)]
    return found


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 of a tensor's shape, type and bytes."""
    total = hashlib.sha256(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
    total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def weights(component: object) -> dict[str, str]:
    """Digests of all parameters and buffers a component holds."""
    return {
        f"{number}.{name}": tensor_digest(value)
        for number, module in enumerate(modules(component))
        for name, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }


def hooks(component: object) -> int:
    """Number of forward hooks on all modules a component holds."""
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks)
        for module in modules(component)
        for part in module.modules()
    )


@contextmanager
def sabotage(component: object, run: Callable[[], object]) -> Iterator[None]:
    """Lets the forward pass fail half-way, in the module that is in the middle of those which run.

    Args:
        component: Holds the modules; without any, nothing is sabotaged.
        run: A working call of the component, to find out which modules run.
    """
    leaves = [part for module in modules(component) for part in module.modules() if not list(part.children())]
    called: list[nn.Module] = []
    handles = [leaf.register_forward_pre_hook(lambda module, _: called.append(module)) for leaf in leaves]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()

    def fail(*_: object) -> None:
        raise RuntimeError("a failure that probebench.testing has planted")

    once = list(dict.fromkeys(called))
    planted = [module.register_forward_pre_hook(fail) for module in once[len(once) // 2 :][:1]]
    try:
        yield
    finally:
        for handle in planted:
            handle.remove()
