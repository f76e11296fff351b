"""Descriptions of components that are remembered between runs, so that a finished run builds nothing.

A description is remembered together with the state of everything that it depends on: versions, the source files of the
plugin and of probebench, and the files that the component reads, each with its size, times and inode (as git's index
does). Where the state differs, or cannot be known, the component is built.

Layout, below the root of the store::

    descriptions/<SHA-256 of what is described>.json
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

import probebench
from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import load_target
from probebench.store.maintenance import DESCRIPTIONS
from probebench.util.files import write_bytes
from probebench.util.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from probebench.plugins.registry import Component

FORMAT = 1
"""Raised when a description holds something else."""

_SETTLED_NS = 2_000_000_000  # no file system in use has a coarser clock
_SKIPPED = {"__pycache__", ".git"}


@dataclass(frozen=True)
class State:
    """What a description depends on.

    Attributes:
        digest: SHA-256 over versions, paths, sizes, times and inodes.
        settled: Whether every file was last changed more than two seconds ago. A younger file may change again without
            a trace where the clock is coarse, so nothing is remembered of it.
    """

    digest: str
    settled: bool


def state_of(component: Component) -> State | None:
    """Returns the state of what a component depends on; None where its plugin cannot name the files that it reads.

    Raises:
        PluginError: The plugin's function fails.
    """
    target = component.entry.spec.files
    if not target:
        return None
    function = load_target(target, where=component.entry.origin)
    with plugin_errors(f"the files of {component.title} cannot be listed", where=component.entry.origin):
        listed = function(component.options)
        paths = None if listed is None else [Path(path) for path in listed]
    if paths is None:
        return None
    sources = [
        _sources(name) for name in ("probebench", component.entry.spec.factory.partition(":")[0].partition(".")[0])
    ]
    if None in sources:
        return None
    total, newest = hashlib.sha256(), 0
    for line, changed in _lines((*(path for found in sources for path in found or ()), *paths)):
        total.update(os.fsencode(line))  # file names need not be text
        newest = max(newest, changed)
    total.update(json.dumps(_versions(component.entry.distribution)).encode())
    return State(total.hexdigest(), newest < time.time_ns() - _SETTLED_NS)


def _lines(paths: Iterable[Path], entered: frozenset[tuple[int, int]] = frozenset()) -> Iterator[tuple[str, int]]:
    """Yields a line for each file at or below the paths, and when it was last changed, in nanoseconds.

    Args:
        paths: Files and folders; links are followed.
        entered: Device and inode of the folders above, so that a link to one of them is not followed in circles.
    """
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116 - a third faster than Path.stat, and there may be a million
            folder = stat.S_ISDIR(found.st_mode)
            names = sorted(set(os.listdir(path)) - _SKIPPED) if folder else []  # noqa: PTH208 - as above
        except OSError:
            yield f"{path}\0absent\n", 0
            continue
        identity = found.st_dev, found.st_ino
        if not folder:
            times = f"{found.st_mtime_ns} {found.st_ctime_ns}"
            yield f"{path}\0{found.st_size} {times} {found.st_ino}\n", max(found.st_mtime_ns, found.st_ctime_ns)
        elif identity not in entered:
            yield f"{path}\0folder\n", 0
            yield from _lines((path / name for name in names), entered | {identity})


def _sources(package: str) -> list[Path] | None:
    """Returns where the source files of a package are, without importing it; None where they are not known."""
    try:
        found = importlib.util.find_spec(package)
    except ValueError:  # a module of a notebook or a script, which has no spec
        found = None
    if found is None:
        return None
    return [Path(folder) for folder in found.submodule_search_locations or ()] or [Path(found.origin or package)]


def _versions(distribution: str) -> dict[str, str]:
    """Returns the versions of Python, probebench, a distribution, PyTorch and all that the distribution requires."""
    required = {Requirement(text).name for text in _requirements(distribution)}
    names = sorted({distribution, "torch", "numpy", *required})
    return {
        "python": platform.python_version(),
        "probebench": probebench.__version__,
        **{name: _version(name) for name in names},
    }


def _requirements(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def recall(root: Path, key: Mapping[str, Any], state: State | None) -> dict[str, Any] | None:
    """Returns the remembered description; None where there is none, or its state is another.

    Args:
        root: Of the feature store.
        key: What is described.
        state: Of what it depends on, now.
    """
    if state is None:
        return None
    try:
        document = json.loads(_path(root, key).read_text(encoding="utf-8"))
        fits = document["format"] == FORMAT and document["key"] == dict(key) and document["state"] == state.digest
        whole = document["sha256"] == digest(document["description"])
        return dict(document["description"]) if fits and whole else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def remember(root: Path, key: Mapping[str, Any], state: State | None, description: Mapping[str, Any]) -> None:
    """Keeps a description, if its state can be trusted; where it cannot be written, it is made again next time."""
    if state is None or not state.settled:
        return
    # TypeError and ValueError: a plugin's values, such as an infinite sigma, that JSON cannot hold.
    with suppress(OSError, TypeError, ValueError):
        document = {
            "format": FORMAT,
            "key": dict(key),
            "state": state.digest,
            "description": dict(description),
            "sha256": digest(dict(description)),
        }
        write_bytes(_path(root, key), json.dumps(document).encode())


def _path(root: Path, key: Mapping[str, Any]) -> Path:
    return root / DESCRIPTIONS / f"{digest(dict(key))}.json"
