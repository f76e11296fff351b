"""Baselines: what the requested backbones are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import Component, Registry, resolve
from probebench.util.spec_text import write_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.api import BackboneSpec


def is_baseline(backbone: Component) -> bool:
    """Whether a backbone is a floor for others: raw pixels, or a network with random weights."""
    values = {name: write_value(value) for name, value in backbone.options.model_dump(mode="json").items()}
    settings = map(_setting, cast("BackboneSpec", backbone.entry.spec).untrained)
    return is_fixed_baseline(backbone) or any(values.get(name) == value for name, value in settings)


def is_fixed_baseline(backbone: Component) -> bool:
    """Returns whether a backbone is a baseline whatever its options are, such as raw pixels."""
    return cast("BackboneSpec", backbone.entry.spec).baseline


def _setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def baselines_of(backbones: Sequence[Component], registry: Registry) -> list[Component]:
    """What the contenders are to be seen against: each network with random weights, and the floors.

    A floor that was asked for is not added in another form, and baselines alone have nothing to be seen against.
    """
    contenders = [backbone for backbone in backbones if not is_baseline(backbone)]
    if not contenders:
        return []
    asked = {backbone.entry.qualified for backbone in backbones}
    floors = [
        entry.qualified
        for entry in registry.entries("backbone")
        if cast("BackboneSpec", entry.spec).baseline
        and entry.qualified not in asked
        and registry.problem(entry) is None
    ]
    return [
        *(_untrained(backbone) for backbone in contenders if cast("BackboneSpec", backbone.entry.spec).untrained),
        *(resolve("backbone", name, registry) for name in floors),
    ]


def _untrained(backbone: Component) -> Component:
    spec = cast("BackboneSpec", backbone.entry.spec)
    name, value = _setting(spec.untrained[0])
    given = {key: getattr(backbone.options, key) for key in backbone.options.model_fields_set}
    with plugin_errors(f"{spec.untrained[0]} does not give an untrained {backbone.title}", where=backbone.entry.origin):
        return Component(backbone.entry, spec.options(**{**given, name: value}))
