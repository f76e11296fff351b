"""Discovers the installed plugins: each is loaded separately, and its failures are collected, never raised.

Plain pluggy stops at the first entry point that cannot be imported, and silently skips a second one with the same name.
Here each entry point has a separate plugin manager, so it cannot affect another, and each failure becomes a `Problem`
that names its distribution.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from probebench.plugins import entrypoints
from probebench.plugins.loading import HEAVY, EntryPointLoader, Kind, Plugin, Problem, Stage, kind_of, reinstall

__all__ = ["HEAVY", "Discovery", "Kind", "Plugin", "Problem", "Stage", "discover", "kind_of"]


@dataclass(frozen=True, slots=True)
class Discovery:
    """The installed plugins and their problems.

    Attributes:
        plugins: Loaded entry points, sorted by distribution and name. They include entry points with a problem,
            whose other components can be used.
        problems: Problems, sorted the same way.
    """

    plugins: tuple[Plugin, ...]
    problems: tuple[Problem, ...]


@functools.cache
def discover() -> Discovery:
    """Loads all installed plugins, once per process. It never raises; see `Discovery.problems`.

    ``PROBEBENCH_PLUGINS=a,b`` loads only the plugins of these distributions; an empty value loads none.
    After ``discover.cache_clear()`` the next call loads them again.
    """
    chosen = entrypoints.selection()
    plugins: list[Plugin] = []
    problems: list[Problem] = []
    provided: dict[tuple[str, str, str], str] = {}
    found = [item for item in entrypoints.scan() if chosen is None or item.distribution in chosen]
    for item in found:
        if item.error:
            problems.append(_metadata_problem(item))
        for name, target in item.entry_points:
            loader = EntryPointLoader(item, name, target, provided)
            if plugin := loader.load():
                plugins.append(plugin)
            problems += loader.problems
    for absent in sorted((chosen or frozenset()) - {item.distribution for item in found}):
        error = f"{entrypoints.SELECTION} names {absent}, but no installed plugin has this name"
        problems.append(Problem(entry_point="", distribution=absent, version="", stage="selection", error=error))
    problems.sort(key=lambda problem: (problem.distribution, problem.entry_point))
    return Discovery(tuple(plugins), tuple(problems))


def _metadata_problem(found: entrypoints.PluginDistribution) -> Problem:
    return Problem(
        entry_point="",
        distribution=found.distribution,
        version=found.version,
        stage="metadata",
        error=found.error,
        hint=reinstall(found.distribution),
    )
