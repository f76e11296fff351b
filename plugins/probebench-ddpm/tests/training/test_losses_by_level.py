"""Losses by noise level: compared with a loop over single images, on images that are not trained on, reproducible."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import pytest
import torch

from probebench.api import UsageError, normal
from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule, training_schedule
from probebench_ddpm.training.curves import Curves
from probebench_ddpm.training.images import load_images
from probebench_ddpm.training.losses_by_level import BANDS, LossesByLevel
from probebench_ddpm.training.objective import Objective
from probebench_ddpm.training.trainer import train


class Half(torch.nn.Module):
    """A network that predicts half of its input."""

    def forward(self, noised, t):
        return SimpleNamespace(sample=noised / 2)


def rows(out):
    with (out / "bands.csv").open() as file:
        return list(csv.DictReader(file))


def pixels(run):
    return {image.numpy().tobytes() for image in run.images.pixels}


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("batch_size", [2, 100])
def test_a_band_is_the_mean_over_its_steps(job, prediction, batch_size):
    images = job().images.pixels[:7]
    scheduler = training_schedule("cosine", prediction)
    bands = LossesByLevel(
        {"val": images}, Objective(scheduler, 5.0), device="cpu", precision="fp32", batch_size=batch_size
    )
    (row,) = bands.measure(Half())
    assert (row["split"], row["images"]) == ("val", 7)
    share = NoiseSchedule(scheduler)._alpha_bar
    for band, (first, end) in enumerate(BANDS):
        total = 0.0
        for position, image in enumerate(images):
            clean = image.double() / 127.5 - 1
            noise = normal((3, 8, 8), seed=0, source="bands/val", index=[position], sample=band)[0].double()
            t = int(first + (position + 0.5) * (end - first) / 7)
            signal, sigma = share[t].sqrt(), (1 - share[t]).sqrt()
            target = noise if prediction == "epsilon" else signal * noise - sigma * clean
            total += float(((signal * clean + sigma * noise) / 2 - target).square().mean())
        assert row[f"t{first}-{end - 1}"] == pytest.approx(total / 7, rel=1e-4)


def test_every_checkpoint_has_a_line_for_each_set(job):
    run = job(epochs=5, recipe={"save_every": 2})
    train(run)
    assert [(row["epoch"], row["step"], row["split"], row["images"]) for row in rows(run.out)] == [
        (epoch, str(int(epoch) * 3), "train", "24") for epoch in ("2", "4", "5")
    ]
    assert list(rows(run.out)[0])[4:] == ["t0-99", "t100-249", "t250-499", "t500-999"]


def test_the_val_split_is_measured_and_not_trained_on(job):
    other = job().images.__class__(5, seed=1)
    run = job(epochs=1, val=other)
    train(run)
    assert [(row["split"], row["images"]) for row in rows(run.out)] == [("train", "24"), ("val", "5")]
    assert torch.equal(load_images(run, 100).train, run.images.pixels)
    assert {image.numpy().tobytes() for image in load_images(run, 3).measured["val"]} < pixels(job(images=other))


def test_held_out_images_are_measured_and_not_trained_on(job):
    run = job(recipe={"holdout": 6})
    images = load_images(run, 4)
    trained = {image.numpy().tobytes() for image in images.train}
    held = {image.numpy().tobytes() for image in images.measured["val"]}
    assert (len(trained), len(held)) == (18, 4)
    assert not trained & held
    assert trained | held < pixels(run)
    again = load_images(job("other", seed=3, recipe={"holdout": 6}), 4)
    assert torch.equal(again.measured["val"], images.measured["val"]), "the images are the same for all seeds"
    train(job("short", epochs=1, recipe={"holdout": 6}))
    assert [row["split"] for row in rows(job("short").out)] == ["train", "val"]


def test_holdout_leaves_no_image_to_train_on(job):
    with pytest.raises(
        UsageError,
        match=r"holdout=24 leaves none of the 24 train images.*\n.*recipe of ddpm on stand-in\n.*--recipe holdout=2",
    ):
        train(job(recipe={"holdout": 24}))


def test_noise_is_the_same_at_every_checkpoint_and_seed(job):
    """The same weights have the same losses, independently of torch's global generator."""
    run = job()
    objective = Objective(training_schedule("linear", "epsilon"))
    bands = LossesByLevel(load_images(run, 24).measured, objective, device="cpu", precision="fp32", batch_size=8)
    first = bands.measure(Half())
    torch.rand(5)
    assert bands.measure(Half()) == first


def test_curves_are_rewound_to_the_state(tmp_path):
    """A run that was killed between measuring and saving measures again; its last line may be truncated."""
    curves = Curves(tmp_path)
    for epoch in (1, 2, 12):
        curves.add_epoch({"epoch": epoch, "step": 10 * epoch, "loss": 0.5})
        curves.add_bands([{"epoch": epoch, "step": 10 * epoch, "split": name} for name in ("train", "val")])
    with (tmp_path / "bands.csv").open("a") as file:
        file.write("1,1")
    curves.rewind(2, 25)
    assert [row["step"] for row in rows(tmp_path)] == ["10", "10", "20", "20"]
    assert len((tmp_path / "loss.csv").read_text().splitlines()) == 3
    curves.rewind(0, 0)
    assert list(tmp_path.iterdir()) == []
