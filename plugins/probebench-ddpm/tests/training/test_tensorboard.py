"""TensorBoard shows the curves that `loss.csv` and `bands.csv` hold: one of each, however often a run was stopped."""

from __future__ import annotations

import csv
import itertools
import sys
from contextlib import nullcontext

import pytest

from probebench.api import UsageError
from probebench_ddpm.training import trainer
from probebench_ddpm.training.process_group import Team
from probebench_ddpm.training.trainer import train

SHOWN = {"tensorboard": True, "save_every": 2}


class Killed(BaseException):
    """What no code of the run catches, as it cannot catch SIGKILL."""


def reader(out):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs pip install 'probebench-ddpm[tensorboard]'",
    )
    return accumulators.EventAccumulator(str(out / "tensorboard"))


def scalars(accumulator):
    """Step and value of each point, by name, as TensorBoard shows them."""
    accumulator.Reload()
    return {
        name: [(event.step, event.value) for event in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def lines(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def written(out):
    """The same from the files of the run; TensorBoard keeps numbers in fp32."""
    found = {}
    for row in lines(out / "loss.csv"):
        for name in ("loss", "images_per_second"):
            found.setdefault(name, []).append((int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)))
    for row in lines(out / "bands.csv"):
        for name in ("t0-99", "t100-249", "t250-499", "t500-999"):
            point = int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)
            found.setdefault(f"bands/{row['split']}/{name}", []).append(point)
    return found


def test_it_shows_what_the_files_hold(job):
    last = train(job(epochs=2, recipe={**SHOWN, "holdout": 8}))
    shown = scalars(reader(last.parent))
    assert shown == written(last.parent)
    assert [step for step, _ in shown["loss"]] == [2, 4]
    assert [step for step, _ in shown["bands/val/t0-99"]] == [4]
    assert len(shown) == 2 + 2 * 4


def test_lines_are_there_while_it_trains(job):
    run, seen = job(epochs=2, recipe={**SHOWN, "save_every": 1}), []

    def progress(epoch, step, *_):
        if (epoch, step) == (2, 1):
            seen.append(scalars(reader(run.out)))

    train(job(epochs=2, recipe={**SHOWN, "save_every": 1}, progress=progress))
    assert [step for step, _ in seen[0]["loss"]] == [3]
    assert [step for step, _ in seen[0]["bands/train/t0-99"]] == [3]


def test_killed_and_gone_on_with(job):
    """Epoch 3 was finished and not saved: it is trained again. Who has been looking on sees one curve, too."""

    def progress(epoch, *_):
        if epoch == 4:
            raise Killed

    with pytest.raises(Killed):
        train(job(epochs=4, recipe=SHOWN, progress=progress))
    watching = reader(job().out)
    assert [step for step, _ in scalars(watching)["loss"]] == [3, 6, 9]
    (torn,) = (job().out / "tensorboard").iterdir()
    torn.write_bytes(torn.read_bytes() + b"\x18\0\0")  # a process that is killed may leave half a point
    last = train(job(epochs=4, recipe=SHOWN))
    assert [step for step, _ in scalars(reader(last.parent))["loss"]] == [3, 6, 9, 12]
    assert scalars(reader(last.parent)) == scalars(watching) == written(last.parent)


def test_stopped_inside_an_epoch_and_gone_on_with(job):
    asked = itertools.count(1)
    train(job(epochs=2, recipe=SHOWN, stop=lambda: next(asked) == 4))
    last = train(job(epochs=2, recipe=SHOWN))
    shown = scalars(reader(last.parent))
    assert shown == written(last.parent)
    assert [step for step, _ in shown["loss"]] == [3, 6]


def test_switched_on_when_the_run_goes_on(job):
    """It is no part of what is trained, and shows the run from its first epoch on. Files of others are left alone."""
    last = train(job(epochs=1))
    assert not (last.parent / "tensorboard").exists()
    notes = last.parent / "tensorboard" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("two years of work")
    train(job(epochs=2, recipe=SHOWN))
    assert notes.read_text() == "two years of work"
    shown = scalars(reader(last.parent))
    assert shown == written(last.parent)
    assert [step for step, _ in shown["loss"]] == [3, 6]
    assert "tensorboard" not in (last.parent / "run.json").read_text()


class Second(Team):
    """The second of two processes, heard by nobody."""

    def __init__(self):
        super().__init__()
        self.index, self.count = 1, 2


def test_only_the_first_of_several_processes_writes(job, monkeypatch):
    monkeypatch.setattr(trainer, "joined", lambda _: nullcontext(Second()))
    run = job(epochs=1, recipe=SHOWN)
    train(run)
    assert [path.name for path in run.out.iterdir()] == ["run.json"]


def test_it_is_not_installed(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    run = job(recipe=SHOWN)
    with pytest.raises(UsageError) as error:
        train(run)
    assert str(error.value) == (
        "curves for TensorBoard need tensorboard, which is not installed\n  in: --recipe tensorboard=true\n"
        "  try: pip install 'probebench-ddpm[tensorboard]', or leave it out: loss.csv has the curve"
    )
    assert list(run.out.iterdir()) == []
