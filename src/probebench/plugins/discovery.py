"""Discovery: every installed plugin is loaded alone, and what goes wrong is kept, never raised.

Plain pluggy stops at the first entry point that cannot be imported and skips the second of one name without a word.
Here each entry point has a manager of its own, so nothing it does can reach another, and each failure becomes
a `Problem` that says whose it is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from probebench.plugins import entrypoints
from probebench.plugins.loading import HEAVY, Kind, Loading, Plugin, Problem, Stage, kind_of, reinstall

__all__ = ["HEAVY", "Discovery", "Kind", "Plugin", "Problem", "Stage", "discover", "kind_of"]


@dataclass(frozen=True, slots=True)
class Discovery:
    """What is installed, and what is wrong with it.

    Attributes:
        plugins: Loaded entry points, sorted by distribution and name. One with a problem may be among them: what
            works of it is usable.
        problems: Sorted the same way.
    """

    plugins: tuple[Plugin, ...]
    problems: tuple[Problem, ...]


@functools.cache
def discover() -> Discovery:
    """Loads all installed plugins, once per process. Never raises: see `Discovery.problems`.

    ``PROBEBENCH_PLUGINS=a,b`` restricts loading to those distributions, and empty loads none.
    ``discover.cache_clear()`` makes the next call look again.
    """
    chosen = entrypoints.selection()
    plugins: list[Plugin] = []
    problems: list[Problem] = []
    given: dict[tuple[str, str, str], str] = {}
    found = [item for item in entrypoints.scan() if chosen is None or item.distribution in chosen]
    for item in found:
        if item.error:
            problems.append(_metadata_problem(item))
        for name, target in item.entry_points:
            loading = Loading(item, name, target, given)
            if plugin := loading.load():
                plugins.append(plugin)
            problems += loading.problems
    for absent in sorted((chosen or frozenset()) - {item.distribution for item in found}):
        error = f"{entrypoints.SELECTION} names {absent}, and no plugin of that name is installed"
        problems.append(Problem(entry_point="", distribution=absent, version="", stage="selection", error=error))
    problems.sort(key=lambda problem: (problem.distribution, problem.entry_point))
    return Discovery(tuple(plugins), tuple(problems))


def _metadata_problem(found: entrypoints.Found) -> Problem:
    return Problem(
        entry_point="",
        distribution=found.distribution,
        version=found.version,
        stage="metadata",
        error=found.error,
        hint=reinstall(found.distribution),
    )
