"""Several processes that do one piece of work together: which of them this one is, and how they are started.

They find each other by the variables that torchrun and ``accelerate launch`` set, and that Accelerate reads.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from probebench.util.interrupts import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LAUNCHER = "PROBEBENCH_LAUNCHER"
_PROGRAM = (sys.executable, "-m", "probebench")
_GRACE = 20.0
"""Seconds that the others have to end, once one has failed. They wait for it, and only its silence tells them."""


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """This process among those that work together.

    Attributes:
        index: From 0, which writes files and talks to the user.
        count: How many there are.
        local: Its number among those on this machine.
    """

    index: int = 0
    count: int = 1
    local: int = 0

    @property
    def main(self) -> bool:
        """Whether it writes files and talks to the user."""
        return self.index == 0


def process_rank() -> ProcessRank:
    """This process' place; the only one where no launcher says otherwise."""
    index, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return ProcessRank(index, count, int(os.environ.get("LOCAL_RANK", index))) if count > 1 else ProcessRank()


def orphaned() -> bool:
    """Whether the process that started this one by `launch` is gone: nobody could stop it any more."""
    launcher = os.environ.get(_LAUNCHER)
    return launcher is not None and hasattr(os, "getppid") and os.getppid() != int(launcher)


def launch(words: Sequence[str], count: int) -> int:
    """Runs a command of probebench in several processes on this machine, and waits for them.

    The first one talks to the user. Of another one it is told what it said only if it failed by itself. Ctrl-C and
    SIGTERM are handed on.

    Args:
        words: After the program's name.
        count: Of processes.

    Returns:
        The exit code.
    """
    threads = str(max(1, (os.cpu_count() or 1) // count))
    shared = {"OMP_NUM_THREADS": threads, **os.environ} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        _LAUNCHER: str(os.getpid()),
    }
    with contextlib.ExitStack() as stack, _heard_signals() as heard:
        children: list[subprocess.Popen[bytes]] = []
        said: list[IO[bytes] | None] = []
        for index in range(count):
            said.append(stack.enter_context(tempfile.TemporaryFile()) if index else None)
            children.append(
                subprocess.Popen(  # noqa: S603 - this program, with the user's own words
                    [*_PROGRAM, *words],
                    env=shared | {"RANK": str(index), "LOCAL_RANK": str(index)},
                    stdin=subprocess.DEVNULL if index else None,
                    stdout=subprocess.DEVNULL if index else None,
                    stderr=said[index],
                    start_new_session=True,  # a terminal's Ctrl-C comes to them once, from here
                )
            )
        first = _wait(children, heard)
        code, error = children[first].returncode, said[first]
        if error is not None and code != children[0].returncode:
            error.seek(0)
            text = error.read().decode(errors="replace").rstrip()
            sys.stderr.write(
                f"process {first} of {count} (from 0) ended first, with code {code}\n{text}".rstrip() + "\n"
            )
        return code if code >= 0 else 128 - code


def _wait(children: Sequence[subprocess.Popen[bytes]], heard: list[int]) -> int:
    """Hands signals on and waits until all have ended; gives the number of the one that failed first, or 0."""
    first, deadline = None, float("inf")
    while True:
        while heard:
            number = heard.pop(0)
            for child in children:
                if child.poll() is None:
                    child.send_signal(number)
        codes = [child.poll() for child in children]
        if first is None and any(codes):
            first = next(number for number, code in enumerate(codes) if code)
            deadline = time.monotonic() + _GRACE
        if None not in codes:
            return first or 0
        if time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(0.05)


@contextlib.contextmanager
def _heard_signals() -> Iterator[list[int]]:
    """Signals that come to this process, which they do not end, from before the first other one is started."""
    heard: list[int] = []
    usual = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in usual.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda received, _frame: heard.append(received))
    try:
        yield heard
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
