"""Finds the installed distributions with plugins, without importing them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from importlib import metadata

GROUP = "probebench"
"""The one entry-point group."""

SELECTION = "PROBEBENCH_PLUGINS"
"""Environment variable with the distributions to load, separated by commas; an empty value loads none."""


@dataclass(frozen=True, slots=True)
class PluginDistribution:
    """A distribution with entry points in the group.

    Attributes:
        distribution: Its normalised name.
        version: Its version.
        entry_points: Name and value of each entry point, sorted.
        location: The folder in which it is installed.
        error: What is wrong with its metadata; empty if nothing is.
    """

    distribution: str
    version: str
    entry_points: tuple[tuple[str, str], ...]
    location: str
    error: str = ""


def normalise(name: str) -> str:
    """Returns a distribution's name in the normalised spelling (PEP 503), for comparisons."""
    return re.sub(r"[-_.]+", "-", name).lower()


def selection() -> frozenset[str] | None:
    """Returns the distributions that `SELECTION` allows; None if it is not set, which allows all."""
    text = os.environ.get(SELECTION)
    return None if text is None else frozenset(normalise(name.strip()) for name in text.split(",") if name.strip())


def scan() -> tuple[PluginDistribution, ...]:
    """Returns all distributions with entry points in the group, sorted by name.

    If two distributions have the same name, the first on the import path is used, as for imports; the result has an
    error unless both are the same.
    """
    found: dict[str, PluginDistribution] = {}
    for distribution in metadata.distributions():
        item = _read(distribution)
        if item is None:
            continue
        first = found.setdefault(item.distribution, item)
        if (first.version, first.entry_points) != (item.version, item.entry_points):
            twice = f"{first.version} in {first.location} hides {item.version} in {item.location}"
            found[item.distribution] = replace(first, error=f"installed twice: {twice}")
    return tuple(found[name] for name in sorted(found))


def _read(distribution: metadata.Distribution) -> PluginDistribution | None:
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeDecodeError):
        return None  # it cannot be recognised as a plugin
    if f"[{GROUP}]" not in text:
        return None
    location = str(distribution.locate_file(""))
    name, version = distribution.metadata["Name"], distribution.metadata["Version"]
    if not name or not version:
        return PluginDistribution(
            "unknown", "", (), location, error=f"a distribution in {location} lacks a name or a version"
        )
    # Not read with `metadata.entry_points()`, which fails for all distributions if one file is malformed.
    try:
        pairs = sorted((point.name, point.value) for point in distribution.entry_points if point.group == GROUP)
    except (TypeError, ValueError) as error:
        return PluginDistribution(normalise(name), version, (), location, error=f"malformed entry_points.txt: {error}")
    return PluginDistribution(normalise(name), version, tuple(pairs), location)
