"""Baselines: what the requested backbones are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import Component, installed, resolve
from probebench.util.spec_text import write_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.api import BackboneSpec


def is_baseline(backbone: Component) -> bool:
    """Returns whether a backbone is a baseline: raw pixels, or a network with random weights."""
    values = {name: write_value(value) for name, value in backbone.options.model_dump(mode="json").items()}
    settings = map(_setting, _spec(backbone).untrained)
    return is_fixed_baseline(backbone) or any(values.get(name) == value for name, value in settings)


def is_fixed_baseline(backbone: Component) -> bool:
    """Returns whether a backbone is a baseline with any options, such as raw pixels."""
    return _spec(backbone).baseline


def baselines_of(backbones: Sequence[Component]) -> list[Component]:
    """Returns the baselines of a run: each contender with random weights, then the fixed baselines.

    A fixed baseline that was requested is not added with other options. A run of baselines alone gets none.
    """
    contenders = [backbone for backbone in backbones if not is_baseline(backbone)]
    if not contenders:
        return []
    requested = {backbone.entry.qualified for backbone in backbones}
    fixed = [
        entry.qualified
        for entry in installed().entries("backbone")
        if cast("BackboneSpec", entry.spec).baseline
        and entry.qualified not in requested
        and installed().problem(entry) is None
    ]
    return [
        *(_untrained(backbone) for backbone in contenders if _spec(backbone).untrained),
        *(resolve("backbone", name) for name in fixed),
    ]


def _untrained(backbone: Component) -> Component:
    """Returns the same backbone with random weights."""
    first = _spec(backbone).untrained[0]
    name, value = _setting(first)
    given = {key: getattr(backbone.options, key) for key in backbone.options.model_fields_set}
    with plugin_errors(f"{first} does not give an untrained {backbone.title}", where=backbone.entry.origin):
        return Component(backbone.entry, _spec(backbone).options(**{**given, name: value}))


def _setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _spec(backbone: Component) -> BackboneSpec:
    return cast("BackboneSpec", backbone.entry.spec)
