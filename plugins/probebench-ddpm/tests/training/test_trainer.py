"""A training from its job to its last checkpoint: what it writes, and what it refuses."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from diffusers import DDPMPipeline

from probebench.api import TrainingError, UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.options import DDPMOptions
from probebench_ddpm.training import objective
from probebench_ddpm.training.trainer import train

RECIPE = {"batch_size": 12}
"""Two steps per epoch."""


@pytest.fixture(scope="module")
def trained(job_in, tmp_path_factory):
    """Last checkpoint of two epochs, which tests must not change."""
    return train(job_in(tmp_path_factory.mktemp("trained") / "run", epochs=2, recipe=RECIPE))


def test_the_checkpoint_is_read_by_ddpm_and_by_diffusers(trained, batch, at, full_forward, blocks, assert_features):
    backbone = DDPM(DDPMOptions(checkpoint=str(trained), noise="none"))
    pipeline = DDPMPipeline.from_pretrained(trained)
    images = batch(size=8)
    maps = full_forward(pipeline.unet.eval(), images.images.float() / 127.5 - 1, 10, blocks)
    for point, vectors in backbone.extract(images, at(blocks), seed=0).items():
        assert_features(vectors, maps[point.tap].mean((2, 3)), point.tap)
    assert backbone.image_size == (8, 8)
    assert pipeline.scheduler.config.prediction_type == "epsilon"


def test_attention_and_widths_are_those_of_the_options(job):
    run = job(epochs=1, options={"attention": False, "widths": (4, 8, 8, 8)})
    backbone = DDPM(DDPMOptions(checkpoint=str(train(run)), attention=False, widths=(4, 8, 8, 8)))
    assert not any("attentions" in tap.id for tap in backbone.taps((8, 8)))


def test_the_loss_curve_has_a_line_per_epoch(trained):
    with (trained.parent / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2"), ("2", "4")]
    assert all(float(row["seconds"]) >= 0 and float(row["images_per_second"]) > 0 for row in rows)


def break_step(monkeypatch, number, what):
    """Makes the loss, or only the gradient, NaN at one step."""
    original, count = objective.mse_loss, 0

    def loss(*arguments):
        nonlocal count
        count += 1
        value = original(*arguments)
        if count - 1 != number:
            return value
        if what == "loss":
            return value * math.nan
        value.register_hook(lambda gradient: gradient * math.nan)
        return value

    monkeypatch.setattr(objective, "mse_loss", loss)


@pytest.mark.parametrize(("what", "name"), [("loss", "loss"), ("gradient", "norm of the gradient")])
def test_training_stops_where_a_value_is_not_finite(job, trained, monkeypatch, weights, same, what, name):
    """Step 3 is the last of the second epoch, after which NaN would be saved."""
    break_step(monkeypatch, 3, what)
    run = job(epochs=2, recipe=RECIPE)
    with pytest.raises(TrainingError) as error:
        train(run)
    assert str(error.value) == (
        f"the {name} is nan at step 3 (epoch 2)\n  in: {run.out}\n"
        f"  try: --recipe lr=0.0001 --out {run.out}-2; saved checkpoints can be used"
    )
    assert error.value.exit_code == 1
    assert sorted(path.name for path in run.out.iterdir()) == [
        *("bands.csv", "epoch-0001", "loss.csv", "run.json", "state-0001")
    ]
    assert all(tensor.isfinite().all() for tensor in weights(run.out / "epoch-0001").values())
    monkeypatch.undo()
    assert same(weights(train(run)), weights(trained)), "the run can be resumed"


def test_too_large_a_learning_rate(job):
    run = job(epochs=5, recipe={"lr": 1e30, "warmup": 0})
    with pytest.raises(TrainingError, match=r"is (nan|inf) at step .*\n.*\n.*--recipe lr=1e\+29"):
        train(run)
    assert not (run.out / "epoch-0005").exists()


def test_training_starts_from_random_weights(job):
    with pytest.raises(
        UsageError,
        match=r"starts from random weights, not from checkpoint=runs.*\n.*option checkpoint of ddpm\n.*--out",
    ):
        train(job(options={"checkpoint": "runs/mine/epoch-0010"}))
    assert train(job(epochs=1, options={"checkpoint": "none"})).is_dir()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"weights": "raw"}, "weights"),
        ({"init_seed": 1}, "init_seed"),
        ({"noise": "mean", "draws": 8}, "noise and draws"),
    ],
)
def test_options_of_reading_are_refused(job, options, named):
    with pytest.raises(UsageError, match=f"{named} cannot be used in training\n.*options of ddpm\n.*remove {named};"):
        train(job(options=options))


@pytest.mark.parametrize("shape", [(24, 3, 8, 16), (24, 3, 12, 12)])
def test_images_that_do_not_fit(job, shape):
    run = job()
    run.images.pixels = torch.zeros(shape, dtype=torch.uint8)
    message = f"images of {shape[2]}x{shape[3]} do not fit a U-Net of four levels\n.*stand-in\n.*multiple of 8"
    with pytest.raises(UsageError, match=message):
        train(run)
