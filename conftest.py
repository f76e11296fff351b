"""Set-up of the whole suite: workers, temporary files, Hypothesis, and the processes that tests start."""

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

import hypothesis
import pytest

# The duration of an example depends on the machine and on its load.
hypothesis.settings.register_profile(
    "probebench", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("probebench")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has one core; with more threads than cores, threads wait for each other. Torch reads it on import.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Spreads the whole suite over the cores. Tests named by path run in this process, which starts faster."""
    if config.args_source is config.ArgsSource.ARGS:
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pytest_configure(config: pytest.Config) -> None:
    """Gives the suite one temporary folder for the files of all its processes, and removes it at the end.

    ``pytest --basetemp=FOLDER`` keeps the folders of failed tests.
    """
    if hasattr(config, "workerinput"):  # workers inherit the folder through the environment
        return
    folder = tempfile.mkdtemp(prefix="probebench-tests-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv("TMPDIR", folder)
    patch.setattr(tempfile, "tempdir", folder)
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        # Without any bytecode, each process compiles all modules that it imports: 20 s of CPU time in place of 5.
        patch.delenv("PYTHONDONTWRITEBYTECODE")
        patch.setenv("PYTHONPYCACHEPREFIX", str(Path(folder, "bytecode")))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Hides the imported modules from the garbage collector.

    Every run of the command line collects garbage, and would spend most of its time on the millions of objects of these
    libraries.
    """
    if not session.config.getoption("--benchmark-enable"):
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """Shows the modules to the collector again, because some libraries report a leak for what is never collected."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _no_fsync(pytestconfig: pytest.Config):
    """Skips `os.fsync`, which protects files only against a power failure, and no test can see that.

    What a killed process leaves does not depend on it. Fresh processes that tests start still call it, and so do
    benchmarks.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not pytestconfig.getoption("--benchmark-enable"):
            patch.setattr(os, "fsync", lambda _: None)
        yield


class Fork:
    """A program in a forked process, which has the heavy libraries imported from the start."""

    def __init__(self, forks: Forks, process: int, out: Path, err: Path) -> None:
        self._forks = forks
        self._process = process
        self._out, self._err = out, err
        self.returncode: int | None = None

    @property
    def stdout(self) -> str:
        """Standard output so far."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """Standard error so far."""
        return self._err.read_text()

    def poll(self) -> int | None:
        """Returns the exit code, negative after a signal, or None while the program runs."""
        if self.returncode is None:
            self.returncode = self._forks.request(process=self._process)
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """Waits until the program ends, and returns its exit code."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                raise TimeoutError(f"the program did not end within {timeout} seconds:\n{self.stderr}")
            time.sleep(0.005)
        return code

    def wait_for(self, folder: Path, pattern: str) -> None:
        """Waits until a file matches the pattern, and fails if the program ends before."""
        while not list(folder.glob(pattern)):
            assert self.poll() is None, self.stderr
            time.sleep(0.005)

    def send(self, number: int) -> None:
        """Sends a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self._process, number)


class Forks:
    """Starts programs as forks of a process that has imported the heavy libraries (tests/forks.py).

    This saves the seconds in which a fresh process imports them. All forks have one hash seed, so tests that compare
    any two processes also start a fresh one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        command = [sys.executable, str(Path(__file__).with_name("tests") / "forks.py")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def request(self, **document):
        """Sends a request to the server, and returns the answer."""
        self._server.stdin.write(f"{json.dumps(document)}\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def python(
        self, code: str, *arguments: str, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> Fork:
        """Starts ``python -c code arguments`` in a folder, with this environment in place of the current one."""
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        process = self.request(
            code=code,
            arguments=[str(argument) for argument in arguments],
            folder=str(folder or Path.cwd()),
            environment={**os.environ} if environment is None else environment,
            out=str(out),
            err=str(err),
        )
        out.touch()
        err.touch()
        return Fork(self, process, out, err)

    def probebench(self, *arguments: str, **more) -> Fork:
        """Starts the command line."""
        return self.python("from probebench.cli import main; main()", *arguments, **more)

    def close(self) -> None:
        """Ends the server."""
        self._server.communicate()


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory):
    """Starts programs in processes of their own, without the seconds of their imports."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork: kills and processes side by side are not tested here")
    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()
