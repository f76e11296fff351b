"""Downloads datasets and weights with the component's function, and shows the progress."""

from __future__ import annotations

import contextlib
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from probebench.api import BackboneSpec, DatasetSpec, UsageError
from probebench.plugins.isolation import plugin_errors
from probebench.plugins.registry import Component, load_target, one_of
from probebench.util.progress import Bar, bar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probebench.plugins.registry import RegistryEntry

_MB = 1e6


def can_fetch(entry: RegistryEntry) -> bool:
    """Returns whether a dataset or backbone has a function that downloads it."""
    return bool(_target(entry))


def _target(entry: RegistryEntry) -> str:
    return cast("DatasetSpec | BackboneSpec", entry.spec).fetch


def fetch(component: Component) -> None:
    """Downloads and verifies the missing files of a dataset or backbone, with a progress bar for each file.

    Args:
        component: The dataset or backbone.

    Raises:
        UsageError: The component has no function for downloads.
        DataError: A file is damaged, cannot be downloaded, or cannot be written.
        PluginError: The function cannot be imported, or fails in another way.
    """
    if not can_fetch(component.entry):
        kind = component.entry.kind
        raise UsageError(
            f"there is nothing to download for {component.entry.label}",
            hint=one_of(kind, attrgetter("fetch")) or f"no installed {kind} can be downloaded",
        )
    function = load_target(_target(component.entry), where=component.entry.origin)
    with contextlib.ExitStack() as stack:
        name, shown, before = "", cast("Bar | None", None), 0

        def progress(file: str, done: int, total: int) -> None:
            nonlocal name, shown, before
            if shown is None or file != name or done < before:
                stack.close()  # the bar of the previous file
                name = file
                shown = stack.enter_context(bar(f"{file}, MB", total / _MB if total else None))
            shown.set_completed(done / _MB)
            before = done

        with plugin_errors(f"{component.title} cannot be downloaded", where=component.entry.origin):
            function(component.options, progress)


def fetch_missing(components: Iterable[Component]) -> None:
    """Downloads the components for ``--download``; those without a function for downloads are ignored.

    Raises:
        DataError: As `fetch`.
        PluginError: As `fetch`.
    """
    for component in components:
        if can_fetch(component.entry):
            fetch(component)
