"""Series: one spec that means several backbones, such as all checkpoints of a training run.

The plugin declares which options name a series, and lists its members. Each member becomes a backbone as if it had been
named alone, so its title, features and records do not depend on how it was requested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from probebench.api import BackboneSpec, UsageError
from probebench.plugins import option_text
from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import Component, component_of, installed, load_target
from probebench.util.spec_text import ParsedSpec, parse_spec

if TYPE_CHECKING:
    from probebench.api import Options
    from probebench.plugins.registry import RegistryEntry


def expand(text: str) -> tuple[Component, ...]:
    """Returns the backbones that a spec means: those of a series, in its order, or the one that it names.

    Args:
        text: The spec.

    Raises:
        UsageError: The spec is wrong, or there is no such series.
        PluginError: The backbone cannot be used, or its function for series fails.
    """
    request = parse_spec(text)
    entry, named, shared = _divide(request)
    if named is None:
        return (component_of("backbone", request),)
    function = load_target(cast("BackboneSpec", entry.spec).series, where=entry.origin)
    with plugin_errors(f"the series {text} cannot be listed", where=entry.origin):
        members = [dict(member) for member in function(named)]
    if not members:
        raise UsageError(
            "the series contains no backbone",
            where=text,
            hint="train it with probebench train, then run the same command again",
        )
    for name, value in shared.items():
        if other := next((member[name] for member in members if member.get(name, value) != value), ""):
            raise UsageError(
                f"option {name}={value} contradicts the series, which has {name}={other}",
                where=text,
                hint=f"leave out {name}",
            )
    requests = [ParsedSpec(request.name, {**member, **shared}) for member in members]
    return tuple(component_of("backbone", request) for request in requests)


def validate(text: str) -> None:
    """Checks a spec as far as possible before the series exists, which may have to be trained first.

    Raises:
        UsageError: A name, option or value is wrong.
        PluginError: The backbone cannot be used.
    """
    request = parse_spec(text)
    _, _, shared = _divide(request)
    component_of("backbone", ParsedSpec(request.name, shared))


def _divide(request: ParsedSpec) -> tuple[RegistryEntry, Options | None, dict[str, str]]:
    """Returns the backbone, the options that name a series (None without any), and those that its members share."""
    entry = installed().find("backbone", request.name)
    model = cast("BackboneSpec", entry.spec).series_options
    named = {name: value for name, value in request.options.items() if name in model.model_fields}
    shared = {name: value for name, value in request.options.items() if name not in named}
    return entry, option_text.validate(model, named, entry.label) if named else None, shared
