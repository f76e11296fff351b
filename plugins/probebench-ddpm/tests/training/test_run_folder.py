"""A run that was killed goes on to the same bits; a folder that holds another run is left alone."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import shutil
import signal
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from probebench.api import TrainingError, UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.options import DDPMOptions
from probebench_ddpm.training import run_folder
from probebench_ddpm.training.trainer import train

RECIPE = {"dropout": 0.1}  # so that the resumed run needs torch's generator where the interrupted one left it


def outcome(out):
    """All that a run must reproduce: every weight, optimiser and average, and the loss curve but for its times."""
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
    """What no code of the run catches, as it cannot catch SIGKILL."""


@pytest.fixture(scope="module")
def whole(job_in, tmp_path_factory):
    """Three epochs without interruption, which no test changes."""
    run = job_in(tmp_path_factory.mktemp("three") / "whole", recipe=RECIPE)
    train(run)
    return run.out


@pytest.fixture(scope="module")
def _one(job_in, tmp_path_factory):
    run = job_in(tmp_path_factory.mktemp("one") / "run", epochs=1)
    train(run)
    return run.out


@pytest.fixture
def begun(_one, job, tmp_path):
    """A run after its first epoch, of the test's own; `job` makes the job that goes on with it."""
    shutil.copytree(_one, tmp_path / "run")
    return job(epochs=1)


def test_more_epochs_later_give_what_one_run_gives(job, whole):
    for epochs in (1, 2, 3):
        last = train(job("pieces", epochs=epochs, recipe=RECIPE))
        assert last.name == f"epoch-{epochs:04d}"
    assert_same(whole, last.parent)


def test_a_finished_run_trains_nothing(job_in, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file() and path.name != "loss.csv"}
    curve = (whole / "loss.csv").read_text()
    told = []
    last = train(job_in(whole, recipe=RECIPE, progress=lambda *report: told.append(report)))
    assert last == whole / "epoch-0003"
    assert told == []
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
def test_stopped_and_gone_on_with(job, precision, steps):
    """In the first epoch, twice in one, at the end of one and in the last: the same bits as without a stop."""
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
    """Says stop at that step, counted over all runs in the folder."""
    before = max((json.loads(path.read_text())["step"] for path in out.glob("state-*/state.json")), default=0)
    asked = itertools.count(before + 1)
    return lambda: next(asked) >= number


def test_a_stopped_run_is_a_checkpoint(job):
    run = job(epochs=3, stop=lambda: True)
    last = train(run)
    assert last == run.out / "epoch-0000-step-1"
    document = json.loads((last / "manifest.json").read_text())
    assert (document["epoch"], document["step"]) == (0, 1)
    assert DDPM(DDPMOptions(checkpoint=str(last))).parameters > 0
    assert not (run.out / "loss.csv").exists(), "no epoch is finished"


def test_the_time_before_a_stop_counts(job):
    """The curve says how long an epoch took, whatever came between its parts."""
    train(job("run", stop=lambda: True))
    (state,) = job("run").out.glob("state-*/state.json")
    document = json.loads(state.read_text())
    assert 0 < document["seconds"] < 100
    state.write_text(json.dumps({**document, "seconds": 1000.0}))
    train(job("run", epochs=2))
    with (job("run").out / "loss.csv").open() as file:
        first, second = (float(row["seconds"]) for row in csv.DictReader(file))
    assert first >= 1000 > 100 > second


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_killed_while_it_saves(job, whole, monkeypatch, call, when):
    """Calls 1 and 3 put a checkpoint into its place, calls 2 and 4 the state to go on from."""
    original, count = run_folder._replace, 0

    def replace(folder, final):
        nonlocal count
        count += 1
        if count == call and when == "before":
            raise Killed
        original(folder, final)
        if count == call:
            raise Killed

    monkeypatch.setattr(run_folder, "_replace", replace)
    with pytest.raises(Killed):
        train(job("killed", recipe=RECIPE))
    monkeypatch.undo()
    assert_same(whole, train(job("killed", recipe=RECIPE)).parent)
    assert not [path for path in job("killed").out.iterdir() if path.name.endswith(".tmp")]


def test_killed_before_the_first_checkpoint(job):
    """Nothing is left to go on from but a piece of the loss curve, which must not be there twice."""
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


@pytest.fixture(scope="module")
def untorn(job_in, tmp_path_factory):
    """Three epochs of the run that is begun, which no test changes."""
    run = job_in(tmp_path_factory.mktemp("untorn") / "run")
    train(run)
    return run.out


@pytest.mark.parametrize("torn", ["2", "2,", "2,6,0.9", "1"])
def test_a_torn_line_of_the_loss_curve(job, begun, untorn, torn):
    """Cut off, ``12,...`` looks like epoch 1."""
    with (begun.out / "loss.csv").open("a") as file:
        file.write(torn)
    train(job(epochs=3))
    assert_same(untorn, begun.out)


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


def test_kill_9_in_the_middle_of_an_epoch(forks, job, whole):
    """In another process, for real: nothing is flushed, closed or caught."""
    run = job("killed", recipe=RECIPE)
    toys = Path(__file__).parents[1] / "conftest.py"
    process = forks.python(KILL, toys, run.out, torch.get_num_threads())
    assert process.wait() == -signal.SIGKILL, process.stderr
    assert (run.out / "state-0001").is_dir()
    assert not (run.out / "epoch-0002").exists()
    assert_same(whole, train(run).parent)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"recipe": {"lr": 0.5}}, "recipe.lr"),
        ({"recipe": {"batch_size": 4, "ema": 0.5}}, "recipe.batch_size, recipe.ema"),
        ({"recipe": {"dropout": 0.1}}, "network.dropout, recipe.dropout"),
        ({"recipe": {"prediction": "v", "min_snr": 5.0}}, "recipe.prediction, recipe.min_snr"),
        ({"recipe": {"schedule": "cosine"}}, "recipe.schedule"),
        ({"seed": 1}, "seed"),
        ({"dataset": "digits"}, "dataset.name"),
        ({"flips": True}, "flips"),
        ({"precision": "bf16"}, "precision"),
        ({"options": {"attention": False}}, "network.down_block_types, network.up_block_types, network.add_attention"),
        ({"options": {"widths": (8, 16, 16, 16)}}, "network.block_out_channels, network.attention_head_dim"),
    ],
)
def test_a_folder_of_another_run_is_refused(job, begun, changed, named):
    before = outcome(begun.out)
    with pytest.raises(UsageError) as error:
        train(job(epochs=2, **changed))
    assert error.value.what == f"the folder holds a run with another {named}"
    assert error.value.where == str(begun.out / "run.json")
    assert error.value.hint == "the options it was started with, or a new --out"
    assert outcome(begun.out)[1:] == before[1:]


def test_many_changes_are_counted(job, begun):
    recipe = {"lr": 0.5, "weight_decay": 0.1, "batch_size": 4, "warmup": 9, "clip": 2.0, "ema": 0.5}
    with pytest.raises(UsageError, match=r"recipe.lr, recipe.weight_decay, .*, recipe.warmup and 2 more\n"):
        train(job(recipe=recipe))


def test_other_images_under_the_same_name_are_refused(begun):
    begun.images.pixels[0, 0, 0, 0] ^= 1
    with pytest.raises(UsageError, match=r"another dataset\.train\n"):
        train(dataclasses.replace(begun, epochs=2))


def test_checkpoints_may_be_saved_more_often_than_before(job):
    train(job(epochs=2, recipe={"save_every": 2}))
    run = job(epochs=4, recipe={"save_every": 1})
    train(run)
    assert sorted(path.name for path in run.out.glob("epoch-*")) == ["epoch-0002", "epoch-0003", "epoch-0004"]
    assert [path.name for path in run.out.glob("state-*")] == ["state-0004"], "only the newest is kept"


def test_a_checkpoint_every_n_epochs_and_at_the_end(job):
    run = job(epochs=5, recipe={"save_every": 2})
    assert train(run) == run.out / "epoch-0005"
    assert sorted(path.name for path in run.out.glob("epoch-*")) == ["epoch-0002", "epoch-0004", "epoch-0005"]


def test_fewer_epochs_than_the_run_has(job):
    train(job(epochs=2))
    with pytest.raises(
        UsageError, match=r"the run has 2 epochs already, more than 1\n.*\n.*--epochs 2 or more"
    ) as error:
        train(job(epochs=1))
    assert error.value.exit_code == 2


def test_the_newest_state_is_found_beyond_four_digits(begun):
    """By number: as text, 10000 comes before 9999."""
    (begun.out / "state-0001").rename(begun.out / "state-10000")
    older = begun.out / "state-9999"
    older.mkdir()
    (older / "state.json").write_text("not read")
    assert train(begun) == begun.out / "epoch-0001"


def test_a_folder_of_something_else_is_left_alone(job):
    run = job()
    (run.out / "thesis.txt").write_text("two years of work")
    with pytest.raises(UsageError, match=r"not empty and holds no training run\n.*\n.*a new --out"):
        train(run)
    assert [path.name for path in run.out.iterdir()] == ["thesis.txt"]


def test_what_a_kill_in_the_first_moment_leaves_is_no_foreign_file(job):
    run = job(epochs=1)
    (run.out / ".run.json.tmp").write_text('{"backbone": "dd')
    assert train(run).is_dir()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_without_its_state_is_not_trained_over(job, begun):
    shutil.rmtree(begun.out / "state-0001")
    before = contents(begun.out)
    with pytest.raises(TrainingError) as error:
        train(job(epochs=2))
    assert error.value.what == "the run has 1 epochs and no training state to go on from"
    assert error.value.where == str(begun.out)
    assert error.value.hint == "a new --out; its checkpoints are intact"
    assert contents(begun.out) == before


def test_a_finished_run_needs_no_state(job, begun):
    """It is as large as four networks: somebody may have made room."""
    shutil.rmtree(begun.out / "state-0001")
    before = contents(begun.out)
    assert train(begun) == begun.out / "epoch-0001"
    assert contents(begun.out) == before
    with pytest.raises(UsageError, match="the run has 1 epochs already, more than 0"):
        train(job(epochs=0))


@pytest.mark.parametrize("content", ["", '{"backbone": "dd'])
def test_a_truncated_run_json(begun, content):
    (begun.out / "run.json").write_text(content)
    with pytest.raises(TrainingError, match=r"run.json cannot be read: .*\n.*\n.*a new --out"):
        train(begun)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("state.safetensors", b""),
        ("state.safetensors", None),
        ("state.json", b'{"epoch": 1,'),
        ("state.json", b'{"epoch": 1}'),
        ("state.json", b"[]"),
    ],
)
def test_a_truncated_state(job, begun, name, content):
    path = begun.out / "state-0001" / name
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    curve = (begun.out / "loss.csv").read_text()
    with pytest.raises(TrainingError) as error:
        train(job(epochs=2))
    assert error.value.what.startswith("the training state cannot be read: ")
    assert error.value.where == str(begun.out / "state-0001")
    assert error.value.hint == "a new --out; its checkpoints are intact"
    assert (begun.out / "loss.csv").read_text() == curve


def test_a_missing_state_file(job, begun):
    (begun.out / "state-0001" / "state.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"the training state cannot be read"):
        train(job(epochs=2))


def test_the_manifest_says_what_the_checkpoint_is(job):
    run = job(epochs=2, flips=True, seed=5)
    document = json.loads((train(run) / "manifest.json").read_text())
    network = document.pop("network")
    assert network["block_out_channels"] == [8, 8, 8, 8]
    assert network["down_block_types"] == ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]
    assert network["sample_size"] == 8
    assert document == {
        "backbone": "ddpm",
        "recipe": {
            "lr": 1e-3,
            "weight_decay": 0.0,
            "batch_size": 8,
            "warmup": 4,
            "clip": 1.0,
            "dropout": 0.0,
            "ema": 0.9999,
        },
        "dataset": {"name": "stand-in", "train": run.images.fingerprint(), "images": 24},
        "flips": True,
        "seed": 5,
        "precision": "fp32",
        "epoch": 2,
        "step": 6,
        "weights": {"unet": "ema", "unet_raw": "raw"},
        "input_range": [-1.0, 1.0],
        "schedule": {"beta": "linear", "from": 1e-4, "to": 0.02, "steps": 1000, "prediction": "epsilon"},
        "versions": {name: version(name) for name in ("probebench", "probebench-ddpm", "torch", "diffusers")},
    }


def test_a_run_from_before_an_option_goes_on(job, begun):
    """Options that came later are in run.json only where they are used, so it is what it was before there were any."""
    assert json.loads((begun.out / "run.json").read_text())["recipe"].keys() == {
        *("lr", "weight_decay", "batch_size", "warmup", "clip", "dropout", "ema")
    }
    train(job("other", epochs=1, recipe={"prediction": "v", "schedule": "cosine", "min_snr": 5.0}))
    recipe = json.loads((job("other").out / "run.json").read_text())["recipe"]
    assert [recipe[name] for name in ("prediction", "schedule", "min_snr")] == ["v", "cosine", 5.0]


def test_the_manifest_tells_a_cosine_schedule(job):
    checkpoint = train(job(epochs=1, recipe={"schedule": "cosine", "prediction": "v"}))
    stated = json.loads((checkpoint / "manifest.json").read_text())["schedule"]
    assert stated == {"beta": "squaredcos_cap_v2", "steps": 1000, "prediction": "v_prediction"}


def test_the_manifest_tells_the_schedule_that_diffusers_reads(begun):
    checkpoint = begun.out / "epoch-0001"
    stated = json.loads((checkpoint / "manifest.json").read_text())["schedule"]
    saved = json.loads((checkpoint / "scheduler" / "scheduler_config.json").read_text())
    assert [stated[key] for key in ("beta", "from", "to", "steps", "prediction")] == [
        saved[key] for key in ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "prediction_type")
    ]
