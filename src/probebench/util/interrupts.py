"""Stops long work early: at a time limit, or at a signal to the process."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and the signal that schedulers and containers send before they kill a process."""


class StopCondition:
    """A condition for long work to save its state and return. The work calls it regularly.

    Args:
        seconds: Time limit, counted from the construction; None for no limit.

    Attributes:
        signal: Number of the received signal, or None.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Returns whether the work should save its state and return."""
        return self.signal is not None or self.expired

    @property
    def expired(self) -> bool:
        """Whether the time limit has passed."""
        return self._deadline is not None and time.monotonic() >= self._deadline

    @contextlib.contextmanager
    def on_signals(self, callback: Callable[[int], None] = lambda _: None) -> Iterator[None]:
        """Makes the first Ctrl-C or SIGTERM in the block a request to stop. The second one has its usual effect.

        Python runs signal handlers in the main thread, so a block in another thread changes nothing. A signal that the
        process was started to ignore stays ignored; shells do so with Ctrl-C for processes in the background.

        Args:
            callback: Called with the number of the first signal.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        replaced = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}

        def request_stop(number: int, _frame: Any) -> None:  # noqa: ANN401 - a stack frame
            self.signal = number
            restore()
            callback(number)

        def restore() -> None:
            for number, handler in replaced.items():
                signal.signal(number, handler)

        try:
            for number in replaced:
                signal.signal(number, request_stop)
            yield
        finally:
            restore()
