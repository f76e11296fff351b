"""How the tests are spread over the cores, what they do not wait for, and the processes that they start."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Every worker has a core of its own; more threads than cores wait for each other. Read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Spreads the whole suite over the cores; tests asked for by path run in this process, which starts sooner."""
    if config.args_source is config.ArgsSource.ARGS:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_configure(config: pytest.Config) -> None:
    """Gives workers and processes a folder for compiled code where none may be left beside the sources.

    Without any, each of them compiles all that it imports, which takes longer than everything else it does.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = tempfile.mkdtemp(prefix="pytest-bytecode-")
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Takes what was imported for all tests out of the sight of the garbage collector.

    Every run collects garbage, and going through the millions of objects of these libraries would be most of its time.
    """
    if not session.config.getoption("--benchmark-enable"):
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """Shows it to the collector again: what is never collected some libraries call leaked."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk(pytestconfig: pytest.Config):
    """Files are not waited for: that saves them when the power fails, which no test can see.

    What a killed process leaves does not depend on it. Fresh processes that tests start do wait, and so do benchmarks.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not pytestconfig.getoption("--benchmark-enable"):
            patch.setattr(os, "fsync", lambda _: None)
        yield


class Fork:
    """A program in a process of its own, which has imported the heavy libraries already."""

    def __init__(self, forks: Forks, number: int, out: Path, err: Path) -> None:
        self._forks = forks
        self._number = number
        self._out, self._err = out, err
        self.returncode: int | None = None

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """What it has told on standard error so far."""
        return self._err.read_text()

    def poll(self) -> int | None:
        """Exit code, negative after a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._forks.ask(process=self._number)
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Exit code, once there is one."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"no end after {timeout} seconds:\n{self.stderr}")
            time.sleep(0.005)
        return code

    def wait_for(self, folder: Path, pattern: str) -> None:
        """Comes back when there is such a file, which has to be while the program runs."""
        while not list(folder.glob(pattern)):
            assert self.poll() is None, self.stderr
            time.sleep(0.005)

    def send(self, number: int) -> None:
        """Sends a signal, unless the process is gone."""
        if self.poll() is None:
            os.kill(self._number, number)


class Forks:
    """Starts programs as forks of a process that has imported the heavy libraries (tests/forks.py).

    That takes none of the seconds in which a fresh process imports them. Their hash seed is the same, so what must be
    equal in any two processes is compared with what a fresh one gives.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        command = [sys.executable, str(Path(__file__).with_name("tests") / "forks.py")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **order):
        """The server's answer to an order."""
        self._server.stdin.write(f"{json.dumps(order)}\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def python(
        self, code: str, *arguments: str, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> Fork:
        """Starts ``python -c code arguments``, in the folder and with this environment in place of our own."""
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        number = self.ask(
            code=code,
            arguments=[str(word) for word in arguments],
            folder=str(folder or Path.cwd()),
            environment={**os.environ} if environment is None else environment,
            out=str(out),
            err=str(err),
        )
        out.touch()
        err.touch()
        return Fork(self, number, out, err)

    def probebench(self, *arguments: str, **more) -> Fork:
        """Starts the command line."""
        return self.python("from probebench.cli import main; main()", *arguments, **more)

    def close(self) -> None:
        """Ends the server."""
        self._server.communicate()


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory):
    """Starts programs in processes of their own, at once."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork: kills and processes side by side are not tested here")
    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()
