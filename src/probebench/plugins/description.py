"""Describes components as JSON values: from their specs, and from the built component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probebench.api import BackboneSpec, PluginError, ProbebenchError
from probebench.plugins import option_text, requirements

if TYPE_CHECKING:
    from probebench.api import Backbone, Dataset
    from probebench.plugins.registry import Component, Registry, RegistryEntry


def describe_entry(registry: Registry, entry: RegistryEntry) -> dict[str, Any]:
    """Returns one line of the list of components: names, versions, summary and requirements."""
    problem = registry.problem(entry)
    return {
        "name": entry.label,
        "qualified": entry.qualified,
        "distribution": entry.distribution,
        "distribution_version": entry.version,
        "version": entry.spec.version,
        "summary": entry.spec.summary,
        "license": entry.spec.license,
        "requires": list(entry.spec.requires),
        "problem": None if problem is None else problem.error,
    }


def describe_spec(component: Component) -> dict[str, Any]:
    """Returns everything that is known about a component without importing it."""
    entry = component.entry
    document: dict[str, Any] = {
        "kind": entry.kind,
        "title": component.title,
        "name": entry.label,
        "qualified": entry.qualified,
        "distribution": entry.distribution,
        "distribution_version": entry.version,
        "version": entry.spec.version,
        "summary": entry.spec.summary,
        "license": entry.spec.license,
        "citation": entry.spec.citation,
        "requires": requirements.describe(entry.spec.requires),
        "options": option_text.describe(component.options),
        "details": None,
        "error": None,
    }
    if isinstance(entry.spec, BackboneSpec):
        document["trainable"] = bool(entry.spec.trainer)
        document["recipe"] = option_text.describe(entry.spec.recipe()) if entry.spec.trainer else []
        document["samples"] = bool(entry.spec.sampler)
        document["sampling"] = option_text.describe(entry.spec.sampling()) if entry.spec.sampler else []
        document["series"] = option_text.describe(entry.spec.series_options()) if entry.spec.series else []
    return document


def describe_built(registry: Registry, component: Component) -> dict[str, Any] | None:
    """Builds a backbone or dataset, and returns what only the built component states; None for a probe.

    Raises:
        PluginError: The component cannot be used or described.
        ProbebenchError: The component raised it.
    """
    entry: RegistryEntry = registry.find(component.entry.kind, component.entry.qualified)
    if entry.kind == "probe":
        return None
    built: Any = component.build()
    try:
        return _backbone(built) if entry.kind == "backbone" else _dataset(built)
    except ProbebenchError:
        raise
    except Exception as error:
        raise PluginError(
            f"{entry.kind} {component.title} cannot be described: {type(error).__name__}: {error}",
            where=entry.origin,
            hint=f"probebench check {entry.label}",
        ) from error


def _backbone(backbone: Backbone) -> dict[str, Any]:
    return {
        "parameters": backbone.parameters,
        "input_range": list(backbone.input_range),
        "image_size": list(backbone.image_size),
        "taps": [
            {
                "id": tap.id,
                "kind": tap.kind,
                "shape": list(tap.shape),
                "cost": tap.cost,
                "default": tap.default,
                "aliases": list(tap.aliases),
            }
            for tap in backbone.taps(backbone.image_size)
        ],
        "levels": [{"id": level.id, "sigma": level.sigma} for level in backbone.levels()],
    }


def _dataset(dataset: Dataset) -> dict[str, Any]:
    return {
        "classes": list(dataset.classes),
        "image_size": list(dataset.image_size),
        "metric": dataset.metric,
        "flips": dataset.flips,
        "splits": {name: len(dataset.split(name)) for name in dataset.splits},
    }
