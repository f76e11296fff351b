"""`probebench list`: what is installed."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from probebench.plugins.discovery import Problem
    from probebench.plugins.registry import Registry, RegistryEntry


class Kinds(StrEnum):
    """What can be listed."""

    BACKBONES = "backbones"
    DATASETS = "datasets"
    PROBES = "probes"


def list_components(
    kinds: Annotated[Kinds | None, typer.Argument(help="Only these.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Lists the installed backbones, datasets and probes."""
    from probebench.plugins.registry import KINDS, installed

    registry = installed()
    chosen = [kind for kind in KINDS if kinds is None or kinds == f"{kind}s"]
    if as_json:
        document: dict[str, Any] = {
            f"{kind}s": [_document(registry, entry) for entry in registry.entries(kind)] for kind in chosen
        }
        document["problems"] = [problem_document(problem) for problem in registry.discovery.problems]
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
        typer.echo(f"{count} with plugins ({owners}): probebench plugins doctor", err=True)


def problem_document(problem: Problem) -> dict[str, Any]:
    """A problem as JSON."""
    from dataclasses import asdict

    return asdict(problem)


def _summary(registry: Registry, entry: RegistryEntry) -> str:
    problem = registry.problem(entry)
    return entry.spec.summary if problem is None else f"{entry.spec.summary} [{problem.error}]"


def _document(registry: Registry, entry: RegistryEntry) -> dict[str, Any]:
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
