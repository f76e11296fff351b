"""`probebench show NAME`: everything about one component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.util.errors import PluginError, ProbebenchError

if TYPE_CHECKING:
    from probebench.api import Backbone, Dataset
    from probebench.plugins.registry import Component, Registry, RegistryEntry

_NAMED_CLASSES = 10


def show(
    name: Annotated[
        str, typer.Argument(metavar="SPEC", help="NAME, DISTRIBUTION/NAME or NAME:option=value.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Shows a component: options, licence and needs; a backbone's taps and levels, a dataset's splits.

    A name that is both a dataset and a probe, say, shows both.
    """
    from probebench.plugins import option_text
    from probebench.plugins.registry import Component, installed
    from probebench.util.spec_text import parse_spec

    request, registry = parse_spec(name), installed()
    components = [
        Component(entry, option_text.validate(entry.spec.options, request.options, entry.label))
        for entry in registry.find_all(request.name)
    ]
    documents, failures = [], []
    for component in components:
        document = _card(component)
        try:
            with quiet_stdout(as_json):
                document["details"] = _details(registry, component)
        except ProbebenchError as error:
            document["error"] = str(error)
            failures.append(error)
        documents.append(document)
        if not as_json:
            _print(document)
    if as_json:
        print_json({"components": documents})
    if failures:
        raise failures[0]


def _card(component: Component) -> dict[str, Any]:
    """What is known without importing the component."""
    from probebench.api import BackboneSpec
    from probebench.plugins import option_text, requirements

    entry = component.entry
    card: dict[str, Any] = {
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
        "requires": [
            {"requirement": requirement.text, "installed": requirement.installed or None, "met": requirement.met}
            for requirement in requirements.check(entry.spec.requires)
        ],
        "options": option_text.describe(component.options),
        "details": None,
        "error": None,
    }
    if isinstance(entry.spec, BackboneSpec):
        card["trainable"] = bool(entry.spec.trainer)
        card["recipe"] = option_text.describe(entry.spec.recipe()) if entry.spec.trainer else []
        card["samples"] = bool(entry.spec.sampler)
        card["sampling"] = option_text.describe(entry.spec.sampling()) if entry.spec.sampler else []
        card["series"] = option_text.describe(entry.spec.series_options()) if entry.spec.series else []
    return card


def _details(registry: Registry, component: Component) -> dict[str, Any] | None:
    """What only the built component knows; a probe has nothing to add."""
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


def _print(document: dict[str, Any]) -> None:
    typer.echo(f"{document['kind']} {document['title']}: {document['summary']}")
    needs = [
        item["requirement"] + ("" if item["met"] else f" (missing: found {item['installed'] or 'none'})")
        for item in document["requires"]
    ]
    facts = {
        "from": f"{document['distribution']} {document['distribution_version']}, as {document['qualified']}",
        "version": document["version"],
        "license": document["license"],
        "cite": document["citation"],
        "needs": ", ".join(needs),
    }
    for key, value in facts.items():
        if value:
            typer.echo(f"  {key + ':':<9}{value}")
    _print_options("option", document["options"])
    _print_options("training option", document.get("recipe", []))
    _print_options("sampling option", document.get("sampling", []))
    _print_options("option of a series", document.get("series", []))
    details = document["details"] or {}
    if "taps" in details:
        _print_backbone(details)
    if "splits" in details:
        _print_dataset(details)
    typer.echo()


def _print_options(header: str, options: list[dict[str, Any]]) -> None:
    if not options:
        return
    typer.echo()
    rows = [
        (
            item["name"],
            item["type"],
            item["default"] if item["value"] == item["default"] else f"{item['default']} (here {item['value']})",
            item["description"],
        )
        for item in options
    ]
    print_table((header, "type", "default", ""), rows)


def _print_backbone(details: dict[str, Any]) -> None:
    (low, high), (height, width) = details["input_range"], details["image_size"]
    typer.echo(
        f"\n{details['parameters']:,} parameters, input from {low:g} to {high:g}; shapes for {height}x{width} images\n"
    )
    rows = [
        (
            tap["id"] + ("" if tap["default"] else " (on request)"),
            tap["kind"],
            "x".join(map(str, tap["shape"])),
            f"{100 * tap['cost']:.1f} %",
            ", ".join(tap["aliases"]),
        )
        for tap in details["taps"]
    ]
    print_table(("tap", "kind", "shape", "cost", "also called"), rows)
    typer.echo()
    levels = [
        (level["id"], "unknown" if level["sigma"] is None else f"{level['sigma']:.4g}") for level in details["levels"]
    ]
    print_table(("level", "sigma"), levels)


def _print_dataset(details: dict[str, Any]) -> None:
    classes = details["classes"]
    shown = ", ".join(classes[:_NAMED_CLASSES]) + (", ..." if len(classes) > _NAMED_CLASSES else "")
    height, width = details["image_size"]
    flips = "may be mirrored" if details["flips"] else "must not be mirrored"
    typer.echo(f"\n{len(classes)} classes: {shown}")
    typer.echo(f"images of {height}x{width} pixels, {flips}; rows are ranked by {details['metric']}\n")
    print_table(("split", "images"), [(name, f"{size:,}") for name, size in details["splits"].items()])
