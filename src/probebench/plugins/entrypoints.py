"""Which installed distributions say that they have plugins. Nothing of them is imported here."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from importlib import metadata

GROUP = "probebench"
"""The one entry-point group."""

SELECTION = "PROBEBENCH_PLUGINS"
"""Environment variable with the distributions to load, joined by commas; empty loads none."""


@dataclass(frozen=True, slots=True)
class Found:
    """A distribution with entry points in the group.

    Attributes:
        distribution: Its normalised name.
        version: Its version.
        entry_points: Name and value of each entry point, sorted.
        location: The folder it is installed in.
        error: What is wrong with its metadata, if anything.
    """

    distribution: str
    version: str
    entry_points: tuple[tuple[str, str], ...]
    location: str
    error: str = ""


def normalise(name: str) -> str:
    """A distribution's name in the one spelling that is compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def selection() -> frozenset[str] | None:
    """The distributions that `SELECTION` allows; None when it is not set and all are allowed."""
    text = os.environ.get(SELECTION)
    return None if text is None else frozenset(normalise(name.strip()) for name in text.split(",") if name.strip())


def scan() -> tuple[Found, ...]:
    """All distributions with entry points in the group, sorted by name.

    Where two of one name are installed, the first on the import path counts, as for imports; the result says so
    unless they are the same.
    """
    found: dict[str, Found] = {}
    for distribution in metadata.distributions():
        item = _read(distribution)
        if item is None:
            continue
        first = found.setdefault(item.distribution, item)
        if (first.version, first.entry_points) != (item.version, item.entry_points):
            twice = f"{first.version} in {first.location} hides {item.version} in {item.location}"
            found[item.distribution] = replace(first, error=f"installed twice: {twice}")
    return tuple(found[name] for name in sorted(found))


def _read(distribution: metadata.Distribution) -> Found | None:
    try:
        text = distribution.read_text("entry_points.txt") or ""
    except (OSError, UnicodeDecodeError):
        return None  # whatever it is, nothing says that it is a plugin
    if f"[{GROUP}]" not in text:
        return None
    location = str(distribution.locate_file(""))
    name, version = distribution.metadata["Name"], distribution.metadata["Version"]
    if not name or not version:
        return Found("unknown", "", (), location, error=f"a distribution in {location} lacks a name or a version")
    # Parsed here and not with `metadata.entry_points()`: there, one malformed file breaks the listing of all.
    try:
        pairs = sorted((point.name, point.value) for point in distribution.entry_points if point.group == GROUP)
    except (TypeError, ValueError) as error:
        return Found(normalise(name), version, (), location, error=f"malformed entry_points.txt: {error}")
    return Found(normalise(name), version, tuple(pairs), location)
