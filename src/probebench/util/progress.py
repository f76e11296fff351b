"""Progress bars on stderr, for people only: silent when stderr is not a terminal, and under CI."""

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
    """What `bar` gives."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Moves on.

        Args:
            amount: How many of the bar's units were done.
            note: A few words after the bar, such as the loss; empty leaves the last ones.
        """

    def reach(self, done: float, note: str = "") -> None:
        """Moves to a place.

        Args:
            done: How many of the bar's units are done in all.
            note: As that of `advance`.
        """


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Shows nothing."""

    def reach(self, done: float, note: str = "") -> None:
        """Shows nothing."""


class _Shown:
    def __init__(self, display: Progress, task: TaskID) -> None:
        self._display, self._task = display, task

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._display.update(self._task, advance=amount, **_noted(note))

    def reach(self, done: float, note: str = "") -> None:
        self._display.update(self._task, completed=done, **_noted(note))


SILENT = _Silent()
"""For work that a bar elsewhere shows."""


def _noted(note: str) -> dict[str, Any]:
    return {"note": note} if note else {}


_display: Progress | None = None  # a terminal has room for one live display: a bar inside a bar joins it


def visible() -> bool:
    """Whether bars are drawn."""
    return sys.stderr.isatty() and not os.environ.get("CI")


@contextlib.contextmanager
def bar(description: str, total: float | None = None) -> Iterator[Bar]:
    """A progress bar, gone when the block ends. Bars may be nested.

    Args:
        description: What is being done.
        total: How many units there are; None when nobody knows.
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
        stack.callback(display.refresh)  # runs first: a short bar is seen complete
        yield _Shown(display, task)


def track(items: Iterable[Item], description: str, total: float | None = None) -> Iterator[Item]:
    """Passes the items on, with a bar that counts them.

    Args:
        items: What to go through.
        description: What is being done.
        total: How many items there are; by default their length, where they have one.
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
        redirect_stdout=sys.stdout.isatty(),  # what goes into a file or a pipe must not end up on stderr
    )
