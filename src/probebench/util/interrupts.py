"""When long work should end before its end: a time limit, or a signal to the process."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what a cluster's scheduler or a container's host sends before it kills."""


class Stop:
    """Asked now and then by work that can save what it has; true from the moment it should.

    Args:
        seconds: Time limit, counted from here; None for none.

    Attributes:
        signal: Number of the signal that came, or None.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether to save and return."""
        return self.signal is not None or self.expired

    @property
    def expired(self) -> bool:
        """Whether the time is up."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @contextlib.contextmanager
    def on_signals(self, heard: Callable[[int], None] = lambda _: None) -> Iterator[None]:
        """Takes the first Ctrl-C or SIGTERM in the block as a wish; the second one does what it always does.

        Python hands signals to the main thread; a block in another thread changes nothing. A signal that the process
        was started to ignore, as shells do with Ctrl-C for what runs in their background, stays ignored.

        Args:
            heard: Called with the signal's number.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        usual = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}

        def note(number: int, _frame: Any) -> None:  # noqa: ANN401 - a stack frame
            self.signal = number
            restore()
            heard(number)

        def restore() -> None:
            for number, handler in usual.items():
                signal.signal(number, handler)

        try:
            for number in usual:
                signal.signal(number, note)
            yield
        finally:
            restore()
