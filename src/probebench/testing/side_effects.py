"""Detects side effects: changes of the random state, use of the network, changed weights and added hooks."""

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

from probebench.testing.checks.contract import require

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
def _restored_random_state() -> Iterator[None]:
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])


def require_no_global_random_state(work: Callable[[], Value], same: Callable[[Value, Value], bool]) -> None:
    """Raises an error if some work changes or reads the global random state of torch, numpy or random.

    Args:
        work: The work. It is called three times, the first time for the side effects of its imports.
        same: Returns whether two results are equal.
    """
    hint = "use a local generator, such as api.normal or torch.Generator().manual_seed(api.hash63(...))"
    with _restored_random_state():
        work()
        results = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = _random_states()
            results.append(work())
            for name, state in _random_states().items():
                require(state == before[name], f"the global random state of {name} has changed", hint=hint)
        require(same(*results), "results depend on the global random state", hint=hint)


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Blocks the network, and returns a list of the attempts to use it."""
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
    """Returns the torch modules in the attributes of a component, or the component itself if it is a module."""
    if isinstance(component, nn.Module):
        return [component]
    members: list[nn.Module] = []
    for value in vars(component).values():
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
        members += [item for item in inner if isinstance(item, nn.Module)]
    return members


def tensor_digest(tensor: Tensor) -> str:
    """Returns the SHA-256 of a tensor's shape, type and bytes."""
    total = hashlib.sha256(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
    total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def weights(component: object) -> dict[str, str]:
    """Returns the digests of all parameters and buffers of a component."""
    return {
        f"{number}.{name}": tensor_digest(value)
        for number, module in enumerate(modules(component))
        for name, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }


def hooks(component: object) -> int:
    """Returns the number of forward hooks on all modules of a component."""
    return sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks)
        for module in modules(component)
        for part in module.modules()
    )


@contextmanager
def failing_forward(component: object, run: Callable[[], object]) -> Iterator[None]:
    """Makes the forward pass raise an error, in the middle one of the modules that it calls.

    Args:
        component: The component. Without modules it is not changed.
        run: A working call of the component, from which the modules are recorded.
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
        raise RuntimeError("an error raised by probebench.testing to test the clean-up")

    once = list(dict.fromkeys(called))
    failing = [module.register_forward_pre_hook(fail) for module in once[len(once) // 2 :][:1]]
    try:
        yield
    finally:
        for handle in failing:
            handle.remove()
