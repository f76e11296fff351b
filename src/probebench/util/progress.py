"""Progress bars on stderr. They are hidden when stderr is not a terminal, and under CI."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.progress import Progress, TaskID

Item = TypeVar("Item")


class Bar(Protocol):
    """A progress bar; `bar` returns one."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Advances the bar.

        Args:
            amount: Number of units that were done since the last call.
            note: A short text after the bar, such as the loss; empty keeps the last one.
        """

    def set_completed(self, done: float, note: str = "") -> None:
        """Sets the position of the bar.

        Args:
            done: Number of units that are done in total.
            note: A short text after the bar; empty keeps the last one.
        """


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Shows nothing."""

    def set_completed(self, done: float, note: str = "") -> None:
        """Shows nothing."""


class _Shown:
    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display, self._task = display, task

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._display.update(self._task, advance=amount, **_noted(note))

    def set_completed(self, done: float, note: str = "") -> None:
        self._display.update(self._task, completed=done, **_noted(note))


SILENT = _Silent()
"""A bar that shows nothing, for work that another bar covers."""


def _noted(note: str) -> dict[str, Any]:
    return {"note": note} if note else {}


_display: Progress | None = None  # a terminal has one live display, so a nested bar joins it


def visible() -> bool:
    """Returns whether bars are shown."""
    return sys.stderr.isatty() and not os.environ.get("CI")


@contextlib.contextmanager
def bar(description: str, total: float | None = None) -> Iterator[Bar]:
    """Shows a progress bar until the block ends. Bars may be nested.

    Args:
        description: The work, in a few words.
        total: Number of units; None if it is not known.
    """
    global _display
    if not visible():
        yield SILENT
        return
    with contextlib.ExitStack() as stack:
        display = _display
        if display is None:
            display = _display = stack.enter_context(_new_display())
            stack.callback(_forget_display)
        task = display.add_task(description, total=total, note="")
        stack.callback(display.remove_task, task)
        stack.callback(display.refresh)  # runs first, so that a short bar is shown complete
        yield _Shown(display, task)


def track(items: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """Yields the items, and shows a bar that counts them.

    Args:
        items: The items.
        description: The work, in a few words.
        total: Number of items; by default their length, if they have one.
    """
    length = getattr(items, "__len__", None)
    with bar(description, total if total is not None or length is None else length()) as shown:
        for item in items:
            yield item
            shown.advance()


def _forget_display() -> None:
    global _display
    _display = None


def _new_display() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # output to a file or a pipe must not go to stderr
    )
