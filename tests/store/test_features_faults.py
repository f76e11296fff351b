"""Killed processes, and processes that share a store.

One process with PyTorch forks for each test case, so that every moment at which a run can be killed is tested.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

IMAGES = 25


HERE = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@pytest.fixture(scope="module")
def scenario(forks):
    """Runs a function of this file in a separate process, and returns its result."""

    def run(name: str, folder: Path):
        process = forks.python(HERE, Path(__file__).parents[1] / "extraction", __file__, name, folder)
        assert process.wait() == 0, process.stderr
        return json.loads(process.stdout)

    return run


@pytest.fixture(scope="module")
def kills(scenario, tmp_path_factory):
    return scenario("kill_everywhere", tmp_path_factory.mktemp("kills"))


def test_a_run_killed_at_any_moment_goes_on_and_ends_in_the_same_bytes(kills):
    # Two key documents, six shards and two manifests: each is synced, renamed, and its folder synced.
    assert len(kills) == 30
    assert all(kill["signal"] == signal.SIGKILL for kill in kills)
    assert [kill for kill in kills if not kill["same_bytes"]] == []


def test_a_killed_run_resumes_at_its_last_shard(kills):
    forwarded = [kill["forwarded"] for kill in kills]
    assert forwarded == sorted(forwarded, reverse=True)
    assert set(forwarded) == {25, 15, 5, 0}


def test_a_killed_run_leaves_temporary_files_and_no_broken_files(kills):
    assert any(kill["temporary"] for kill in kills)
    assert [kill for kill in kills if kill["broken"] or kill["left"]] == []


def test_two_runs_and_gc_share_a_store(scenario, tmp_path):
    rounds = scenario("share", tmp_path)
    assert len(rounds) == 3
    for outcome in rounds:
        assert outcome["exits"] == [0, 0, 0]
        assert outcome["same_bytes"]
        assert outcome["left"] == []


# --- in the separate process ---


def extraction(root: Path, *, pause: float = 0.0) -> int:
    from test_passes import POINTS, Images, Noisy, run

    from probebench.store.features import Store

    class Slow(Noisy):
        def extract(self, batch, points, *, seed):
            time.sleep(pause)
            return super().extract(batch, points, seed=seed)

    return run(Slow(), Images(IMAGES), Store(root), points=POINTS[:2]).forwarded


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".tmp"
    }


def in_child(work) -> int:
    """Runs some work in a fork, which exits with 0, or with 1 and a traceback. Returns its process id."""
    if child := os.fork():
        return child
    try:
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def killed_at(call: int, work):
    """Returns work that is killed at one of its calls of `os.fsync` or `os.replace`."""
    calls = 0

    def counted(function):
        def wrapped(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return wrapped

    def patched():
        os.fsync, os.replace = counted(os.fsync), counted(os.replace)
        work()

    return patched


def kill_everywhere(folder: Path) -> list[dict]:
    from probebench.store.maintenance import collect_garbage, verify

    extraction(folder / "whole")
    whole = contents(folder / "whole")
    kills = []
    for call in range(1, 1000):
        root = folder / f"killed-{call}"
        _, status = os.waitpid(in_child(killed_at(call, lambda root=root: extraction(root))), 0)
        if not os.WIFSIGNALED(status):
            assert status == 0
            return kills
        temporary, broken = list(root.rglob("*.tmp")), verify(root)
        kill = {"call": call, "signal": os.WTERMSIG(status), "temporary": len(temporary), "broken": len(broken)}
        kill["forwarded"] = extraction(root)
        kill["same_bytes"] = contents(root) == whole
        for path in temporary:
            os.utime(path, (0, 0))
        collect_garbage(root)
        kill["left"] = sorted(set(map(str, root.rglob("*.tmp"))))
        kills.append(kill)
    raise AssertionError("the run did not end")


def share(folder: Path) -> list[dict]:
    from probebench.store.maintenance import collect_garbage

    extraction(folder / "whole")
    whole = contents(folder / "whole")
    rounds = []
    for number in range(3):
        root = folder / f"shared-{number}"

        def clean(root=root):
            for _ in range(300):
                collect_garbage(root)

        def work(root=root):
            extraction(root, pause=0.02)

        children = [in_child(work), in_child(work), in_child(clean)]
        exits = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        left = [str(path) for path in root.rglob("*.tmp")]
        rounds.append({"exits": exits, "same_bytes": contents(root) == whole, "left": left})
    return rounds


if __name__ == "__main__":
    name, folder = sys.argv[3:]
    sys.stdout.write(json.dumps(globals()[name](Path(folder))))
