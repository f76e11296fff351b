"""Components that each break one law on purpose: every check is seen to fail on at least one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from probebench.testing.subjects import CONTRACTS, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from probebench.testing.checks.contract import Contract

Broken = TypeVar("Broken", bound=type)

_FAKES: list[tuple[str, Subject]] = []


def breaks(check: str) -> Callable[[Broken], Broken]:
    """Says which check must catch the decorated component."""

    def register(component: Broken) -> Broken:
        kind: Contract = next(kind for kind, contract in CONTRACTS.items() if issubclass(component, contract))
        _FAKES.append((check, Subject(kind, component.__name__, component)))
        return component

    return register


def broken_fakes() -> tuple[tuple[str, Subject], ...]:
    """All broken components, each with the name of the check that must catch it."""
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

    # Importing them is what fills the list.
    del backbones, datasets, features, measures, neighbours
    del probes, splits, finetuning
    return tuple(_FAKES)
