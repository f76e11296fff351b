"""Series: one spec that means several backbones, such as all checkpoints of a training run.

The plugin says which options name a series, and what its members are; here each becomes a backbone as if it had been
named by itself. So a member's title, features and records are the same however it was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench.api import BackboneSpec, UsageError
from probebench.plugins import option_text
from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import Component, Registry, component_of, installed, load_target
from probebench.util.spec_text import ParsedSpec, parse_spec

if TYPE_CHECKING:
    from probebench.api import Options
    from probebench.plugins.registry import RegistryEntry


def expand(text: str, registry: Registry | None = None) -> tuple[Component, ...]:
    """The backbones that a spec means: those of a series, in its order, or the one that it names.

    Args:
        text: The spec.
        registry: Where to look; by default what is installed.

    Raises:
        UsageError: The spec is wrong, or there is no such series.
        PluginError: The backbone cannot be used, or its function for series fails.
    """
    registry = registry or installed()
    request = parse_spec(text)
    entry, named, shared = _divide(request, registry)
    if named is None:
        return (component_of("backbone", request, registry),)
    function = load_target(cast("BackboneSpec", entry.spec).series, where=entry.origin)
    with plugin_errors(f"the series {text} cannot be listed", where=entry.origin):
        members = [dict(member) for member in function(named)]
    if not members:
        raise UsageError("the series is empty", where=text)
    for name, value in shared.items():
        if other := next((member[name] for member in members if member.get(name, value) != value), ""):
            raise UsageError(f"option {name}={value} contradicts the series, which has {name}={other}", where=text)
    requests = [ParsedSpec(request.name, {**member, **shared}) for member in members]
    return tuple(component_of("backbone", request, registry) for request in requests)


def validate(text: str, registry: Registry | None = None) -> None:
    """Checks a spec as far as it can be before the series is there, which may have to be trained first.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: The backbone cannot be used.
    """
    registry = registry or installed()
    request = parse_spec(text)
    _, _, shared = _divide(request, registry)
    component_of("backbone", ParsedSpec(request.name, shared), registry)


def _divide(request: ParsedSpec, registry: Registry) -> tuple[RegistryEntry, Options | None, dict[str, str]]:
    """The backbone, what names a series of it (None where nothing does), and the options that its members share."""
    entry = registry.find("backbone", request.name)
    model = cast("BackboneSpec", entry.spec).series_options
    named = {name: value for name, value in request.options.items() if name in model.model_fields}
    shared = {name: value for name, value in request.options.items() if name not in named}
    return entry, option_text.validate(model, named, entry.label) if named else None, shared
