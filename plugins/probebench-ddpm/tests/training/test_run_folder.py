"""The folder of a run: other runs and other files are refused, truncated files are errors, manifests are complete."""

from __future__ import annotations

import dataclasses
import json
import shutil
from importlib.metadata import version

import pytest

from probebench.api import TrainingError, UsageError
from probebench_ddpm.training.run_settings import changed_settings
from probebench_ddpm.training.trainer import train


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"recipe": {"lr": 0.5}}, "lr=0.001"),
        ({"recipe": {"batch_size": 4, "ema": 0.5}}, "batch_size=8, ema=0.9999"),
        ({"recipe": {"dropout": 0.1}}, "dropout=0.0"),
        ({"recipe": {"prediction": "v", "min_snr": 5.0}}, "prediction=epsilon, min_snr=0.0"),
        ({"recipe": {"schedule": "cosine"}}, "schedule=linear"),
        ({"seed": 1}, "seed=0"),
        ({"dataset": "digits"}, "dataset=stand-in"),
        ({"flips": True}, "flips=false"),
        ({"precision": "bf16"}, "precision=fp32"),
        ({"options": {"attention": False}}, "attention=true"),
        ({"options": {"widths": (8, 16, 16, 16)}}, "widths=8+8+8+8"),
        ({"options": {"scale": 1.5}}, "scale=1.0"),
    ],
)
def test_a_folder_of_another_run_is_refused(job, begun, changed, named):
    before = contents(begun.out)
    with pytest.raises(UsageError) as error:
        train(job(epochs=2, **changed))
    assert error.value.what == f"the run in this folder was started with {named}"
    assert error.value.where == str(begun.out / "run.json")
    assert error.value.hint == f"use the same settings, or --out {begun.out}-2 for a new run"
    assert contents(begun.out) == before


def test_many_changes_are_counted(job, begun):
    recipe = {"lr": 0.5, "weight_decay": 0.1, "batch_size": 4, "warmup": 9, "clip": 2.0, "ema": 0.5}
    with pytest.raises(UsageError, match=r"lr=0.001, weight_decay=0.0, batch_size=8, warmup=4 and 2 more\n"):
        train(job(recipe=recipe))


def test_other_images_under_the_same_name_are_refused(begun):
    begun.images.pixels[0, 0, 0, 0] ^= 1
    with pytest.raises(UsageError, match=r"was started with another dataset\.train\n"):
        train(dataclasses.replace(begun, epochs=2))


@pytest.mark.parametrize("started_with", [{}, [], {"recipe": 1}, {"backbone": "other"}])
def test_settings_that_are_not_those_of_a_training_run(begun, started_with):
    settings = json.loads((begun.out / "run.json").read_text())
    assert changed_settings(settings, settings) == ""
    assert changed_settings(started_with, settings).startswith("another ")


def test_checkpoints_may_be_saved_more_often_than_before(job):
    train(job(epochs=2, recipe={"batch_size": 24, "save_every": 2}))
    run = job(epochs=4, recipe={"batch_size": 24, "save_every": 1})
    train(run)
    assert sorted(path.name for path in run.out.glob("epoch-*")) == ["epoch-0002", "epoch-0003", "epoch-0004"]
    assert [path.name for path in run.out.glob("state-*")] == ["state-0004"], "only the newest is kept"


def test_a_checkpoint_every_n_epochs_and_at_the_end(job):
    run = job(epochs=5, recipe={"batch_size": 24, "save_every": 2})
    assert train(run) == run.out / "epoch-0005"
    assert sorted(path.name for path in run.out.glob("epoch-*")) == ["epoch-0002", "epoch-0004", "epoch-0005"]


def test_fewer_epochs_than_the_run_has(job):
    train(job(epochs=2, recipe={"batch_size": 24}))
    with pytest.raises(
        UsageError, match=r"the run has 2 epochs already, more than 1\n.*\n.*--epochs 2 or more"
    ) as error:
        train(job(epochs=1, recipe={"batch_size": 24}))
    assert error.value.exit_code == 2


def test_the_newest_state_has_the_largest_number(begun):
    """As text, 10000 precedes 9999."""
    (begun.out / "state-0001").rename(begun.out / "state-10000")
    older = begun.out / "state-9999"
    older.mkdir()
    (older / "state.json").write_text("not read")
    assert train(begun) == begun.out / "epoch-0001"


def test_a_folder_with_other_files_is_refused(job):
    run = job()
    (run.out / "thesis.txt").write_text("two years of work")
    with pytest.raises(UsageError, match=r"not empty and contains no training run\n.*\n.*--out .*run-2"):
        train(run)
    assert [path.name for path in run.out.iterdir()] == ["thesis.txt"]


def test_a_temporary_file_of_a_killed_run_is_ignored(job):
    run = job(epochs=1)
    (run.out / ".run.json.tmp").write_text('{"backbone": "dd')
    assert train(run).is_dir()


def test_a_run_without_its_state_cannot_be_resumed(job, begun):
    shutil.rmtree(begun.out / "state-0001")
    before = contents(begun.out)
    with pytest.raises(TrainingError) as error:
        train(job(epochs=2))
    assert error.value.what == "the run has 1 epochs and no training state to resume from"
    assert error.value.where == str(begun.out)
    assert error.value.hint == f"--out {begun.out}-2 to train again; the checkpoints in this folder can be used"
    assert contents(begun.out) == before


def test_a_finished_run_needs_no_state(job, begun):
    """It is as large as four networks, so users may delete it."""
    shutil.rmtree(begun.out / "state-0001")
    before = contents(begun.out)
    assert train(begun) == begun.out / "epoch-0001"
    assert contents(begun.out) == before
    with pytest.raises(UsageError, match="the run has 1 epochs already, more than 0"):
        train(job(epochs=0))


@pytest.mark.parametrize("content", ["", '{"backbone": "dd'])
def test_a_truncated_run_json(begun, content):
    (begun.out / "run.json").write_text(content)
    with pytest.raises(TrainingError, match=r"run.json cannot be read: .*\n.*\n.*--out .*run-2"):
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
    assert error.value.hint == f"--out {begun.out}-2 to train again; the checkpoints in this folder can be used"
    assert (begun.out / "loss.csv").read_text() == curve


def test_a_missing_state_file(job, begun):
    (begun.out / "state-0001" / "state.safetensors").unlink()
    with pytest.raises(TrainingError, match=r"the training state cannot be read"):
        train(job(epochs=2))


def test_the_manifest_is_complete(job):
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


def test_options_that_were_added_later_are_stored_only_where_they_are_used(job, begun):
    """So `run.json` is what it was before they were added, and older runs can be resumed."""
    assert json.loads((begun.out / "run.json").read_text())["recipe"].keys() == {
        *("lr", "weight_decay", "batch_size", "warmup", "clip", "dropout", "ema")
    }
    last = train(job("other", epochs=1, recipe={"prediction": "v", "schedule": "cosine", "min_snr": 5.0}))
    recipe = json.loads((last.parent / "run.json").read_text())["recipe"]
    assert [recipe[name] for name in ("prediction", "schedule", "min_snr")] == ["v", "cosine", 5.0]
    schedule = json.loads((last / "manifest.json").read_text())["schedule"]
    assert schedule == {"beta": "squaredcos_cap_v2", "steps": 1000, "prediction": "v_prediction"}


def test_the_schedule_of_the_manifest_is_that_of_the_scheduler_config(begun):
    checkpoint = begun.out / "epoch-0001"
    schedule = json.loads((checkpoint / "manifest.json").read_text())["schedule"]
    saved = json.loads((checkpoint / "scheduler" / "scheduler_config.json").read_text())
    assert [schedule[key] for key in ("beta", "from", "to", "steps", "prediction")] == [
        saved[key] for key in ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "prediction_type")
    ]
