"""Several processes for one training: their ranks, their output, and their end."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from probebench.api import UsageError
from probebench.harness.training import check_job
from probebench.plugins.registry import resolve
from probebench.util import launch as processes
from probebench.util.launch import ProcessRank, launch, orphaned, process_rank

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "PROBEBENCH_LAUNCHER")


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(monkeypatch):
    """Launches a script in place of probebench."""

    def start(script: str, count: int) -> int:
        monkeypatch.setattr(processes, "_PROGRAM", (sys.executable, "-S", "-c", "import os, sys, time\n" + script))
        return launch([], count)

    return start


def test_the_rank_is_0_of_1_without_a_launcher(monkeypatch):
    assert process_rank() == ProcessRank(0, 1, 0)
    assert process_rank().main
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert process_rank() == ProcessRank(5, 8, 1)
    assert not process_rank().main


def test_processes_share_an_address_and_the_first_prints(run, capfd):
    script = "print(*(os.environ[name] for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR')), sep=',')"
    assert run(script + "\nassert int(os.environ['MASTER_PORT']) > 1023", 3) == 0
    assert capfd.readouterr() == ("0,0,3,127.0.0.1\n", "")


def test_an_error_of_all_processes_is_printed_once(run, capfd):
    assert run("sys.stderr.write('error: no such thing\\n'); sys.exit(2)", 3) == 2
    assert capfd.readouterr().err == "error: no such thing\n"


def test_an_error_of_one_process_is_printed_and_ends_the_others(run, capfd, monkeypatch):
    monkeypatch.setattr(processes, "_GRACE", 0.1)
    assert run("if os.environ['RANK'] == '0': time.sleep(60)\nsys.exit('error: out of memory')", 2) == 1
    assert (
        capfd.readouterr().err
        == "process 1 of 2 (counted from 0) ended first, with exit code 1\nerror: out of memory\n"
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals end a process otherwise on this system")
def test_a_signal_is_forwarded(run, capfd):
    script = f"os.kill({os.getpid()}, {signal.SIGTERM:d}) if os.environ['RANK'] == '0' else None\ntime.sleep(60)"
    usual = signal.getsignal(signal.SIGTERM)
    assert run(script, 2) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is usual
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "getppid"), reason="no parents on this system")
def test_a_process_whose_launcher_has_ended_is_orphaned(monkeypatch):
    assert not orphaned(), "it was not launched"
    monkeypatch.setenv("PROBEBENCH_LAUNCHER", str(os.getppid()))
    assert not orphaned()
    monkeypatch.setenv("PROBEBENCH_LAUNCHER", "1000000000")
    assert orphaned()


def test_a_trainer_for_one_process_refuses_two(site):
    site.add(
        "alone",
        """
        @hookimpl
        def probebench_backbones():
            yield BackboneSpec(name="alone", factory="x.y:Z", summary="A backbone", trainer="x.y:train")
        """,
    )
    site.load()
    backbone = resolve("backbone", "alone")
    check_job(backbone, {}, 1)
    with pytest.raises(UsageError) as error:
        check_job(backbone, {}, 1, 2)
    assert str(error.value) == (
        "alone is trained by one process, not by 2\n  in: --num-processes\n  try: leave out --num-processes"
    )
