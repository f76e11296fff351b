"""Downloads of datasets: done by the dataset's own function, shown by the core."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

from probebench.api import DatasetSpec, UsageError
from probebench.inputs import plugin_errors
from probebench.progress import Bar, bar
from probebench.registry import Component, installed, load_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probebench.registry import Entry

_MB = 1e6


def can_fetch(entry: Entry) -> bool:
    """Whether a dataset brings a function that downloads it."""
    return bool(cast("DatasetSpec", entry.spec).fetch)


def fetch(dataset: Component) -> None:
    """Downloads and verifies what is missing of a dataset, with a bar for each file.

    Args:
        dataset: What is wanted, with its options.

    Raises:
        UsageError: It cannot be downloaded.
        DataError: A file is damaged, cannot be downloaded, or cannot be written.
        PluginError: The dataset's function cannot be imported, or fails in another way.
    """
    if not can_fetch(dataset.entry):
        names = [entry.label for entry in installed().entries("dataset") if can_fetch(entry)]
        raise UsageError(
            f"there is nothing to download for {dataset.entry.label}",
            hint="one of " + ", ".join(names) if names else "no installed dataset can be downloaded",
        )
    function = load_target(cast("DatasetSpec", dataset.entry.spec).fetch, where=dataset.entry.origin)
    with contextlib.ExitStack() as stack:
        name, shown, before = "", cast("Bar | None", None), 0

        def progress(file: str, done: int, total: int) -> None:
            nonlocal name, shown, before
            if shown is None or file != name or done < before:
                stack.close()  # the bar of the file before
                name, before = file, 0
                shown = stack.enter_context(bar(f"{file}, MB", total / _MB if total else None))
            shown.advance((done - before) / _MB)
            before = done

        with plugin_errors(f"{dataset.title} cannot be downloaded", where=dataset.entry.origin):
            function(dataset.options, progress)


def fetch_missing(datasets: Iterable[Component]) -> None:
    """What ``--download`` does: those that cannot be downloaded, or need not be, are passed over.

    Raises:
        DataError: As `fetch`.
        PluginError: As `fetch`.
    """
    for dataset in datasets:
        if can_fetch(dataset.entry):
            fetch(dataset)
