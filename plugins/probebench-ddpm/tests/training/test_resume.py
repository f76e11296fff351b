"""A run that was killed or stopped resumes and ends bit-identical to one that was not interrupted."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.options import DDPMOptions
from probebench_ddpm.training import run_folder
from probebench_ddpm.training.trainer import train

RECIPE = {"dropout": 0.1}  # so that the resumed run needs the state of torch's generator at the interruption


def outcome(out):
    """Returns all that must be reproduced: weights, optimiser, averages, and the loss curve without its times."""
    found = {}
    for path in sorted(out.rglob("*.safetensors")):
        found |= {f"{path.relative_to(out)}/{name}": tensor for name, tensor in load_file(path).items()}
    with (out / "loss.csv").open() as file:
        curve = [(row["epoch"], row["step"], row["loss"]) for row in csv.DictReader(file)]
    curve += (out / "bands.csv").read_text().splitlines()
    texts = {str(path.relative_to(out)): json.loads(path.read_text()) for path in sorted(out.rglob("*.json"))}
    return found, curve, texts


def assert_same(first, second):
    (tensors, curve, texts), (other_tensors, other_curve, other_texts) = outcome(first), outcome(second)
    assert curve == other_curve
    assert texts == other_texts
    assert tensors.keys() == other_tensors.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, other_tensors[name])] == []
    assert any(name.startswith("state-") for name in tensors)


class Killed(BaseException):
    """An exception that no code of the run catches, as it cannot catch SIGKILL."""


@pytest.fixture(scope="module")
def whole(job_in, tmp_path_factory):
    """Three epochs without interruption, which tests must not change."""
    run = job_in(tmp_path_factory.mktemp("three") / "whole", recipe=RECIPE)
    train(run)
    return run.out


def test_more_epochs_in_a_later_run_are_as_in_one_run(job, whole):
    for epochs in (1, 2, 3):
        last = train(job("pieces", epochs=epochs, recipe=RECIPE))
        assert last.name == f"epoch-{epochs:04d}"
    assert_same(whole, last.parent)


def test_a_finished_run_trains_nothing(job_in, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file() and path.name != "loss.csv"}
    curve = (whole / "loss.csv").read_text()
    reports = []
    last = train(job_in(whole, recipe=RECIPE, progress=lambda *report: reports.append(report)))
    assert last == whole / "epoch-0003"
    assert reports == []
    assert (whole / "loss.csv").read_text() == curve
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize("moment", [(1, 2), (2, 1), (2, 3), (3, 2)])
def test_killed_in_an_epoch(job, whole, moment):
    def progress(epoch, step, _steps, _loss):
        if (epoch, step) == moment:
            raise Killed

    with pytest.raises(Killed):
        train(job("killed", recipe=RECIPE, progress=progress))
    assert_same(whole, train(job("killed", recipe=RECIPE)).parent)


@pytest.mark.parametrize(("precision", "steps"), [("fp32", [1, 2, 6, 8]), ("bf16", [4])])
def test_stopped_and_resumed(job, precision, steps):
    """In the first epoch, twice in one, at the end of one and in the last: bit-identical to a run without a stop."""
    recipe = {**RECIPE, "save_every": 3}
    whole = train(job("whole", recipe=recipe, precision=precision))
    for step in steps:
        last = train(job("pieces", recipe=recipe, precision=precision, stop=at_step(step, job("pieces").out)))
        epoch, inside = divmod(step, 3)
        assert last.name == f"epoch-{epoch:04d}" + (f"-step-{step}" if inside else "")
        state = last.with_name(last.name.replace("epoch", "state"))
        assert list(last.parent.glob("state-*")) == [state], "only the newest is kept"
    last = train(job("pieces", recipe=recipe, precision=precision))
    for checkpoint in last.parent.glob("epoch-*"):
        if checkpoint != last:
            shutil.rmtree(checkpoint)
    assert_same(whole.parent, last.parent)


def at_step(number, out):
    """Returns a job's `stop` that requests a stop at that step, counted over all runs in the folder."""
    before = max((json.loads(path.read_text())["step"] for path in out.glob("state-*/state.json")), default=0)
    calls = itertools.count(before + 1)
    return lambda: next(calls) >= number


def test_a_stopped_run_saves_a_checkpoint(job):
    run = job(epochs=3, stop=lambda: True)
    last = train(run)
    assert last == run.out / "epoch-0000-step-1"
    document = json.loads((last / "manifest.json").read_text())
    assert (document["epoch"], document["step"]) == (0, 1)
    assert DDPM(DDPMOptions(checkpoint=str(last))).parameters > 0
    assert not (run.out / "loss.csv").exists(), "no epoch is finished"


def test_the_time_of_an_epoch_includes_the_time_before_a_stop(job):
    train(job("run", stop=lambda: True))
    (state,) = job("run").out.glob("state-*/state.json")
    document = json.loads(state.read_text())
    assert 0 < document["seconds"] < 100
    state.write_text(json.dumps({**document, "seconds": 1000.0}))
    train(job("run", epochs=2))
    with (job("run").out / "loss.csv").open() as file:
        first, second = (float(row["seconds"]) for row in csv.DictReader(file))
    assert first >= 1000 > 100 > second


@pytest.fixture(scope="module")
def two_epochs(job_in, tmp_path_factory):
    """Two epochs without interruption and without dropout, which tests must not change."""
    run = job_in(tmp_path_factory.mktemp("two") / "run", epochs=2)
    train(run)
    return run.out


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_killed_while_it_saves(job, two_epochs, monkeypatch, call, when):
    """Calls 1 and 3 rename the state to resume from, calls 2 and 4 the checkpoint."""
    original, count = run_folder._move_into_place, 0

    def move(folder, final):
        nonlocal count
        count += 1
        if count == call and when == "before":
            raise Killed
        original(folder, final)
        if count == call:
            raise Killed

    monkeypatch.setattr(run_folder, "_move_into_place", move)
    with pytest.raises(Killed):
        train(job("killed", epochs=2))
    monkeypatch.undo()
    assert_same(two_epochs, train(job("killed", epochs=2)).parent)
    assert not [path for path in job("killed").out.iterdir() if path.name.endswith(".tmp")]


def test_killed_before_the_first_checkpoint(job):
    """Only a part of the loss curve is left, whose lines must not appear twice."""
    recipe = {"save_every": 3}
    train(job("whole", recipe=recipe))

    def progress(epoch, *_):
        if epoch == 3:
            raise Killed

    with pytest.raises(Killed):
        train(job("killed", recipe=recipe, progress=progress))
    killed = job("killed", recipe=recipe)
    assert len((killed.out / "loss.csv").read_text().splitlines()) == 3
    train(killed)
    assert_same(killed.out.parent / "whole", killed.out)


@pytest.mark.parametrize("torn", ["2", "2,", "2,6,0.9", "1"])
def test_a_truncated_line_of_the_loss_curve(job, begun, two_epochs, torn):
    """Truncated, ``12,...`` looks like epoch 1."""
    with (begun.out / "loss.csv").open("a") as file:
        file.write(torn)
    train(job(epochs=2))
    assert_same(two_epochs, begun.out)


KILL = """
import os, runpy, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[3]))
from probebench_ddpm.training.trainer import train
def progress(epoch, step, steps, loss):
    if (epoch, step) == (2, 2):
        os.kill(os.getpid(), signal.SIGKILL)
toys = runpy.run_path(sys.argv[1])
train(toys["make_job"](Path(sys.argv[2]), recipe={"dropout": 0.1}, progress=progress))
"""


def test_sigkill_in_an_epoch(forks, job, whole):
    """The run is another process: it can neither flush nor close nor catch anything."""
    run = job("killed", recipe=RECIPE)
    toys = Path(__file__).parents[1] / "conftest.py"
    process = forks.python(KILL, toys, run.out, torch.get_num_threads())
    assert process.wait() == -signal.SIGKILL, process.stderr
    assert (run.out / "state-0001").is_dir()
    assert not (run.out / "epoch-0002").exists()
    assert_same(whole, train(run).parent)
