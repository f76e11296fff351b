"""The list of broken components. Every check must fail for at least one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from probebench.testing.subjects import CONTRACTS, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from probebench.testing.checks.contract import Contract

Broken = TypeVar("Broken", bound=type)

_FAKES: list[tuple[str, Subject]] = []


def breaks(check: str) -> Callable[[Broken], Broken]:
    """Registers a component with the check that must fail for it."""

    def register(component: Broken) -> Broken:
        kind: Contract = next(kind for kind, contract in CONTRACTS.items() if issubclass(component, contract))
        _FAKES.append((check, Subject(kind, component.__name__, component)))
        return component

    return register


def broken_fakes() -> tuple[tuple[str, Subject], ...]:
    """Returns all broken components, each with the name of the check that must fail."""
    from probebench.testing.broken import (
        backbones,
        datasets,
        features,
        finetuning,
        measures,
        neighbours,
        probes,
        splits,
    )

    del backbones, datasets, features, finetuning, measures, neighbours, probes, splits  # their import fills the list
    return tuple(_FAKES)
