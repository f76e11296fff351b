"""`probebench list`."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from probebench.plugins.registry import Registry, RegistryEntry


class Kinds(StrEnum):
    """Kinds of components."""

    BACKBONES = "backbones"
    DATASETS = "datasets"
    PROBES = "probes"


def list_components(
    kinds: Annotated[Kinds | None, typer.Argument(help="List only this kind", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False,
) -> None:
    """Lists the installed backbones, datasets and probes."""
    from probebench.plugins.description import describe_entry
    from probebench.plugins.registry import KINDS, installed

    registry = installed()
    chosen = [kind for kind in KINDS if kinds is None or kinds == f"{kind}s"]
    if as_json:
        document: dict[str, Any] = {
            f"{kind}s": [describe_entry(registry, entry) for entry in registry.entries(kind)] for kind in chosen
        }
        document["problems"] = [asdict(problem) for problem in registry.discovery.problems]
        print_json(document)
        return
    for number, kind in enumerate(chosen):
        if number:
            typer.echo()
        rows = [(entry.label, entry.origin, _summary(registry, entry)) for entry in registry.entries(kind)]
        print_table((f"{kind}s", "from", ""), rows or [("(none)", "", "")])
    if problems := registry.discovery.problems:
        owners = ", ".join(sorted({problem.distribution for problem in problems}))
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        typer.echo(f"{count} with plugins ({owners}); for details run: probebench plugins doctor", err=True)


def _summary(registry: Registry, entry: RegistryEntry) -> str:
    problem = registry.problem(entry)
    return entry.spec.summary if problem is None else f"{entry.spec.summary} [{problem.error}]"
