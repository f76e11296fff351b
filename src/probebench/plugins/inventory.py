"""Lists the installed plugins as JSON values: entry points with their components and problems."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from probebench.plugins import requirements
from probebench.plugins.discovery import kind_of
from probebench.plugins.registry import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.plugins.discovery import Plugin, Problem
    from probebench.plugins.registry import Registry


def inventory(registry: Registry) -> list[dict[str, Any]]:
    """Returns a row for each entry point, loaded or not, and a row for each distribution with problems."""
    discovery = registry.discovery
    plugins = {(plugin.distribution, plugin.entry_point): plugin for plugin in discovery.plugins}
    problems: dict[tuple[str, str], list[Problem]] = {}
    for problem in discovery.problems:
        problems.setdefault((problem.distribution, problem.entry_point), []).append(problem)
    return [_row(key, plugins.get(key), problems.get(key, [])) for key in sorted({*plugins, *problems})]


def shared_names(registry: Registry) -> list[dict[str, Any]]:
    """Returns the short names that several distributions provide: only their qualified names can be used."""
    shared = []
    for kind in KINDS:
        entries = [entry for entry in registry.entries(kind) if not entry.unique]
        for name in sorted({entry.spec.name for entry in entries}):
            owners = [entry.distribution for entry in entries if entry.spec.name == name]
            shared.append({"kind": kind, "name": name, "distributions": owners})
    return shared


def _row(key: tuple[str, str], plugin: Plugin | None, problems: Sequence[Problem]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "distribution": key[0],
        "version": plugin.version if plugin else problems[0].version,
        "entry_point": key[1],
        "module": plugin and plugin.module,
        "api": plugin and plugin.api,
        "components": [],
        "problems": [asdict(problem) for problem in problems],
    }
    for spec in plugin.specs if plugin else ():
        needs = requirements.describe(spec.requires)
        row["components"].append({"kind": kind_of(spec), "name": spec.name, "requires": needs})
    for protocol in plugin.protocols if plugin else ():
        row["components"].append({"kind": "protocol", "name": protocol.name, "requires": []})
    return row
