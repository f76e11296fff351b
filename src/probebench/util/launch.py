"""Starts several processes for one training, and returns the rank of this process among them.

The processes use the environment variables of torchrun and ``accelerate launch``, which Accelerate reads.
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
"""Seconds that the other processes have to end after one has failed, before they are killed."""


@dataclass(frozen=True, slots=True)
class ProcessRank:
    """The rank of this process among those that share one training.

    Attributes:
        index: Rank, from 0. Process 0 writes files and prints messages.
        count: Number of processes.
        local: Rank among the processes on this machine.
    """

    index: int = 0
    count: int = 1
    local: int = 0

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints messages."""
        return self.index == 0


def process_rank() -> ProcessRank:
    """Returns the rank of this process: 0 of 1 if no launcher has set the variables."""
    index, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return ProcessRank(index, count, int(os.environ.get("LOCAL_RANK", index))) if count > 1 else ProcessRank()


def orphaned() -> bool:
    """Returns whether the process that started this one by `launch` has ended, and so cannot stop it any more."""
    launcher = os.environ.get(_LAUNCHER)
    return launcher is not None and hasattr(os, "getppid") and os.getppid() != int(launcher)


def launch(arguments: Sequence[str], count: int) -> int:
    """Runs a command of probebench in several processes on this machine, and waits for them.

    Process 0 prints its output. The standard error of another process is printed only if that process failed first.
    Ctrl-C and SIGTERM are forwarded to all processes.

    Args:
        arguments: Arguments of the command, without the program's name.
        count: Number of processes.

    Returns:
        The exit code.
    """
    threads = str(max(1, (os.cpu_count() or 1) // count))
    environment = {"OMP_NUM_THREADS": threads, **os.environ} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        _LAUNCHER: str(os.getpid()),
    }
    with contextlib.ExitStack() as stack, _queued_signals() as signals:
        children: list[subprocess.Popen[bytes]] = []
        errors: list[IO[bytes] | None] = []
        for index in range(count):
            errors.append(stack.enter_context(tempfile.TemporaryFile()) if index else None)
            children.append(
                subprocess.Popen(  # noqa: S603 - this program, with the user's own arguments
                    [*_PROGRAM, *arguments],
                    env=environment | {"RANK": str(index), "LOCAL_RANK": str(index)},
                    stdin=subprocess.DEVNULL if index else None,
                    stdout=subprocess.DEVNULL if index else None,
                    stderr=errors[index],
                    start_new_session=True,  # so that Ctrl-C in a terminal reaches them once, from this process
                )
            )
        first = _wait(children, signals)
        code, error = children[first].returncode, errors[first]
        if error is not None and code != children[0].returncode:
            error.seek(0)
            text = error.read().decode(errors="replace").rstrip()
            sys.stderr.write(
                f"process {first} of {count} (counted from 0) ended first, with exit code {code}\n{text}".rstrip()
                + "\n"
            )
        return code if code >= 0 else 128 - code


def _wait(children: Sequence[subprocess.Popen[bytes]], signals: list[int]) -> int:
    """Forwards signals and waits until all processes have ended. Returns the index of the first to fail, or 0."""
    first, deadline = None, float("inf")
    while True:
        while signals:
            number = signals.pop(0)
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
def _queued_signals() -> Iterator[list[int]]:
    """Collects signals to this process in a list, so that they do not end it."""
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: received.append(number))
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
