"""TensorBoard shows the curves of `loss.csv` and `bands.csv`, each once, also after interruptions."""

from __future__ import annotations

import csv
import itertools
import sys
from contextlib import nullcontext

import pytest

from probebench.api import UsageError
from probebench_ddpm.training import trainer
from probebench_ddpm.training.trainer import train

SHOWN = {"tensorboard": True, "save_every": 2}


class Killed(BaseException):
    """An exception that no code of the run catches, as it cannot catch SIGKILL."""


def reader(out):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs pip install 'probebench-ddpm[tensorboard]'",
    )
    return accumulators.EventAccumulator(str(out / "tensorboard"))


def scalars(accumulator):
    """Returns step and value of each point, by name, as read by TensorBoard."""
    accumulator.Reload()
    return {
        name: [(event.step, event.value) for event in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def lines(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def written(out):
    """Returns the same from the CSV files of the run; TensorBoard stores numbers in fp32."""
    found = {}
    for row in lines(out / "loss.csv"):
        for name in ("loss", "images_per_second"):
            found.setdefault(name, []).append((int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)))
    for row in lines(out / "bands.csv"):
        for name in ("t0-99", "t100-249", "t250-499", "t500-999"):
            point = int(row["step"]), pytest.approx(float(row[name]), rel=1e-6)
            found.setdefault(f"bands/{row['split']}/{name}", []).append(point)
    return found


def test_it_shows_the_content_of_the_files(job):
    last = train(job(epochs=2, recipe={**SHOWN, "holdout": 8}))
    shown = scalars(reader(last.parent))
    assert shown == written(last.parent)
    assert [step for step, _ in shown["loss"]] == [2, 4]
    assert [step for step, _ in shown["bands/val/t0-99"]] == [4]
    assert len(shown) == 2 + 2 * 4


def test_lines_are_written_during_training(job):
    run, while_training = job(epochs=2, recipe={**SHOWN, "save_every": 1}), []

    def progress(epoch, step, *_):
        if (epoch, step) == (2, 1):
            while_training.append(scalars(reader(run.out)))

    train(job(epochs=2, recipe={**SHOWN, "save_every": 1}, progress=progress))
    assert [step for step, _ in while_training[0]["loss"]] == [3]
    assert [step for step, _ in while_training[0]["bands/train/t0-99"]] == [3]


def test_killed_and_resumed(job):
    """Epoch 3 was finished and not saved: it is trained again. An open TensorBoard shows one curve too."""

    def progress(epoch, *_):
        if epoch == 4:
            raise Killed

    with pytest.raises(Killed):
        train(job(epochs=4, recipe=SHOWN, progress=progress))
    already_open = reader(job().out)
    assert [step for step, _ in scalars(already_open)["loss"]] == [3, 6, 9]
    (torn,) = (job().out / "tensorboard").iterdir()
    torn.write_bytes(torn.read_bytes() + b"\x18\0\0")  # a killed process may leave half a point
    last = train(job(epochs=4, recipe=SHOWN))
    assert [step for step, _ in scalars(reader(last.parent))["loss"]] == [3, 6, 9, 12]
    assert scalars(reader(last.parent)) == scalars(already_open) == written(last.parent)


def test_stopped_inside_an_epoch_and_resumed(job):
    calls = itertools.count(1)
    train(job(epochs=2, recipe=SHOWN, stop=lambda: next(calls) == 4))
    last = train(job(epochs=2, recipe=SHOWN))
    shown = scalars(reader(last.parent))
    assert shown == written(last.parent)
    assert [step for step, _ in shown["loss"]] == [3, 6]


def test_switched_on_for_a_resumed_run(job):
    """The option is not a setting of the run, and shows it from its first epoch. Other files are not changed."""
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


def test_only_the_first_of_several_processes_writes(job, monkeypatch, second_of_two):
    monkeypatch.setattr(trainer, "process_group", lambda _: nullcontext(second_of_two))
    run = job(epochs=1, recipe=SHOWN)
    train(run)
    assert [path.name for path in run.out.iterdir()] == ["run.json"]


def test_tensorboard_is_not_installed(job, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    run = job(recipe=SHOWN)
    with pytest.raises(UsageError) as error:
        train(run)
    assert str(error.value) == (
        "tensorboard=true needs the package tensorboard, which is not installed\n"
        "  in: option tensorboard of the recipe\n"
        "  try: pip install 'probebench-ddpm[tensorboard]', or tensorboard=false: loss.csv has the same curve"
    )
    assert list(run.out.iterdir()) == []
