"""`probebench show NAME`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.util.errors import ProbebenchError

_NAMED_CLASSES = 10


def show(
    name: Annotated[
        str, typer.Argument(metavar="SPEC", help="NAME, DISTRIBUTION/NAME or NAME:option=value", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False,
) -> None:
    """Shows a component: options, licence and requirements; a backbone's taps and levels, a dataset's splits.

    If components of several kinds have the name, all of them are shown.
    """
    from probebench.plugins import option_text
    from probebench.plugins.description import describe_built, describe_spec
    from probebench.plugins.registry import Component, installed
    from probebench.util.spec_text import parse_spec

    spec, registry = parse_spec(name), installed()
    components = [
        Component(entry, option_text.validate(entry.spec.options, spec.options, entry.label))
        for entry in registry.find_all(spec.name)
    ]
    documents, failures = [], []
    for component in components:
        document = describe_spec(component)
        try:
            with quiet_stdout(as_json):
                document["details"] = describe_built(registry, component)
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


def _print(document: dict[str, Any]) -> None:
    typer.echo(f"{document['kind']} {document['title']}: {document['summary']}")
    facts = {
        "from": f"{document['distribution']} {document['distribution_version']}, as {document['qualified']}",
        "version": document["version"],
        "license": document["license"],
        "cite": document["citation"],
        "requires": ", ".join(map(_requirement, document["requires"])),
    }
    for key, value in facts.items():
        if value:
            typer.echo(f"  {key + ':':<10}{value}")
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


def _requirement(item: dict[str, Any]) -> str:
    if item["met"]:
        return str(item["requirement"])
    return f"{item['requirement']} ({item['installed'] + ' is installed' if item['installed'] else 'not installed'})"


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
    print_table(("tap", "kind", "shape", "cost", "aliases"), rows)
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
