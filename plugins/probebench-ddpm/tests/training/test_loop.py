"""The training loop: what it trains on, its optimiser steps, and that they are reproducible."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from diffusers import DDPMPipeline

from probebench.api import FeatureError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.options import DDPMOptions
from probebench_ddpm.training import images, loop, randomness
from probebench_ddpm.training.trainer import train


def test_the_loss_falls(job, losses):
    """It falls from 1, the loss of a network that predicts zero. The labels of the dataset cannot be read."""
    run = job(epochs=20, recipe={"lr": 1e-2, "batch_size": 24, "save_every": 20})
    train(run)
    curve = losses(run.out)
    assert len(curve) == 20
    assert sum(curve[:2]) / 2 > 0.7
    assert sum(curve[-5:]) / 5 < 0.6 * sum(curve[:2]) / 2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_are_bit_identical(job, weights, same, losses, precision):
    first, second = (
        train(job(name, epochs=2, precision=precision, recipe={"save_every": 2})) for name in ("first", "second")
    )
    assert same(weights(first), weights(second))
    assert same(weights(first, "unet_raw"), weights(second, "unet_raw"))
    assert losses(first.parent) == losses(second.parent)


def test_dropout_is_the_same_every_time(job, weights, same, losses):
    """It uses torch's global generator, which the loop must seed at each step and restore."""
    recipe = {"dropout": 0.5}
    state = torch.get_rng_state()
    first = train(job("first", epochs=1, recipe=recipe))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    second = train(job("second", epochs=1, recipe=recipe))
    assert same(weights(first), weights(second))
    without = train(job("without", epochs=1))
    assert losses(first.parent) != losses(without.parent)


def test_the_seed_changes_weights_and_noise(job, weights, same, noising):
    first, second = train(job("first", epochs=1)), train(job("second", epochs=1, seed=1))
    assert not same(weights(first, "unet_raw"), weights(second, "unet_raw"))
    steps = len(noising) // 2
    assert not torch.equal(noising[0][1], noising[steps][1])


def test_every_step_has_its_own_noise_and_t(job, noising):
    train(job(epochs=2, recipe={"save_every": 2}))
    assert len(noising) == 6
    for first in range(6):
        for second in range(first):
            assert not torch.equal(noising[first][1], noising[second][1])
    steps = torch.cat([t for _, _, t in noising])
    assert 0 <= int(steps.min()) < 200
    assert 800 < int(steps.max()) < 1000
    noise = torch.cat([noise.flatten() for _, noise, _ in noising])
    assert float(noise.mean()) == pytest.approx(0, abs=0.03)
    assert float(noise.std()) == pytest.approx(1, abs=0.03)


def test_an_epoch_reads_every_image_once_in_a_new_order(job, noising):
    run = job(epochs=2, recipe={"save_every": 2})
    train(run)
    every = {image.numpy().tobytes() for image in run.images.pixels.float() / 127.5 - 1}
    assert len(every) == 24
    orders = []
    for epoch in range(2):
        clean = torch.cat([images for images, _, _ in noising[3 * epoch : 3 * epoch + 3]])
        orders.append([image.numpy().tobytes() for image in clean])
        assert set(orders[-1]) == every
    assert orders[0] != orders[1]


def test_an_incomplete_batch_is_dropped_but_a_small_dataset_is_one_batch(job, noising):
    train(job("dropped", epochs=1, recipe={"batch_size": 10}))
    assert [len(images) for images, _, _ in noising] == [10, 10]
    noising.clear()
    train(job("small", epochs=1, recipe={"batch_size": 100}))
    assert [len(images) for images, _, _ in noising] == [24]


@pytest.mark.parametrize("flips", [True, False])
def test_images_are_mirrored_only_where_the_dataset_allows_it(job, noising, flips):
    run = job(epochs=4, flips=flips, recipe={"save_every": 4})
    train(run)
    straight = {image.numpy().tobytes() for image in run.images.pixels.float() / 127.5 - 1}
    mirrored = {image.numpy().tobytes() for image in (run.images.pixels.float() / 127.5 - 1).flip(-1)}
    assert not straight & mirrored
    seen = [image.contiguous().numpy().tobytes() for images, _, _ in noising for image in images]
    share = sum(image in mirrored for image in seen) / len(seen)
    assert set(seen) <= straight | mirrored
    assert share == 0 if not flips else 0.3 < share < 0.7


def test_input_out_of_its_range_is_refused(job, monkeypatch):
    """Normalize(0.5, 0.45), which spoiled a model of the thesis, gives -1.11 to 1.11."""
    monkeypatch.setattr(loop, "to_input", lambda images, _: (images.float() / 255 - 0.5) / 0.45)
    run = job()
    run.images.pixels[0, 0, 0, 0], run.images.pixels[0, 0, 0, 1] = 0, 255
    with pytest.raises(
        FeatureError, match=r"the input ranges from -1.11\d* to 1.\d+, not within -1 to 1\n.*training images"
    ):
        train(dataclasses.replace(run, recipe=run.recipe.model_copy(update={"batch_size": 24})))
    assert not (run.out / "run.json").exists()


def test_the_average_follows_its_warm_up(job, monkeypatch):
    """The decay of step n is min(ema, 1 - (1 + n)^-0.75), from 0 at the first; here it is recomputed in float64."""
    history = []
    original = loop.EMAModel.step

    def step(self, parameters):
        parameters = list(parameters)
        history.append([parameter.detach().double().clone() for parameter in parameters])
        original(self, parameters)

    monkeypatch.setattr(loop.EMAModel, "step", step)
    checkpoint = train(job(epochs=4, recipe={"ema": 0.7, "save_every": 4}))
    averages = history[0]
    decays = [min(0.7, 1 - (1 + number) ** -0.75) for number in range(len(history))]
    assert decays[0] == 0
    assert decays[-1] == 0.7
    for decay, now in list(zip(decays, history, strict=True))[1:]:
        averages = [decay * old + (1 - decay) * new for old, new in zip(averages, now, strict=True)]
    averaged = DDPMPipeline.from_pretrained(checkpoint).unet
    for weight, expected in zip(averaged.parameters(), averages, strict=True):
        torch.testing.assert_close(weight.double(), expected, rtol=1e-4, atol=1e-6)


def test_averaged_and_raw_weights_differ(job, batch, at, weights, same):
    checkpoint = train(job(epochs=2, recipe={"save_every": 2}))
    assert not same(weights(checkpoint), weights(checkpoint, "unet_raw"))
    ema, raw = (
        DDPM(DDPMOptions(checkpoint=str(checkpoint), weights=kind)).extract(batch(size=8), at(["up.1"]), seed=0)
        for kind in ("ema", "raw")
    )
    assert not torch.allclose(*ema.values(), *raw.values(), rtol=1e-3)


def test_the_learning_rate_warms_up(job, monkeypatch):
    rates = []
    original = torch.optim.AdamW.step

    def step(self, *arguments, **named):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(job(epochs=2, recipe={"lr": 1e-3, "warmup": 4, "save_every": 2}))
    assert rates == pytest.approx([0.00025, 0.0005, 0.00075, 0.001, 0.001, 0.001])


def test_gradients_are_clipped(job, monkeypatch):
    norms = []
    original = torch.optim.AdamW.step

    def step(self, *arguments, **named):
        norms.append(math.sqrt(sum(float(p.grad.double().square().sum()) for p in self.param_groups[0]["params"])))
        return original(self, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    train(job(epochs=1, recipe={"clip": 0.01}))
    assert norms == pytest.approx([0.01] * 3, rel=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("count", [2, 3])
def test_accumulation_gives_the_step_of_the_whole_batch(job, precision, count):
    """Three parts of eight images have different sizes: a mean of means would weight their images differently."""
    gradients = []
    for accumulate in (1, count):
        run = job(f"{accumulate}", flips=True, precision=precision, recipe={"accumulate": accumulate, "min_snr": 5.0})
        trained = loop.TrainingLoop(run, images.load_images(run, 4))
        assert trained.optimiser_step(run.images.pixels[:8]) > 0
        gradients.append(torch.cat([weight.grad.flatten() for weight in trained.unet.parameters()]))
    whole, summed = gradients
    rounding = 1e-5 if precision == "fp32" else 0.02
    assert float((summed - whole).norm() / whole.norm()) < rounding


def test_accumulation_needs_less_memory(job, passes):
    run = job(recipe={"accumulate": 4})
    loop.TrainingLoop(run, images.load_images(run, 4)).optimiser_step(run.images.pixels[:8])
    assert [len(images) for images in passes] == [2] * 4


def test_a_run_can_be_resumed_with_another_accumulation(job):
    train(job(epochs=1, recipe={"batch_size": 24}))
    assert train(job(epochs=2, recipe={"batch_size": 24, "accumulate": 2})).name == "epoch-0002"


@pytest.mark.parametrize(("count", "number"), [(8, 1), (8, 3), (7, 4), (2, 4), (128, 6)])
def test_micro_batches_are_the_whole_batch_once(count, number):
    parts = loop.split_batch(count, number)
    assert [position for part in parts for position in range(count)[part]] == list(range(count))
    assert len(parts) == min(count, number)
    assert max(part.stop - part.start for part in parts) - min(part.stop - part.start for part in parts) <= 1


def test_micro_batches_have_different_dropout_masks(job):
    """With the masks of the first for all of them, dropout would add half of its noise."""
    masks = []
    for start in (0, 4, 0):
        with randomness.seeded_dropout(torch.device("cpu"), seed=0, step=3, start=start):
            masks.append(torch.rand(8))
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])


def test_fixed_order_is_a_permutation():
    assert sorted(randomness.fixed_order(50, "x").tolist()) == list(range(50))
    assert not torch.equal(randomness.fixed_order(50, "x"), randomness.fixed_order(50, "y"))


def test_progress_reports_epoch_step_and_loss(job, losses):
    reports = []
    run = job(epochs=2, recipe={"save_every": 2}, progress=lambda *report: reports.append(report))
    train(run)
    assert [report[:3] for report in reports] == [(epoch, step, 3) for epoch in (1, 2) for step in (1, 2, 3)]
    means = [sum(loss for *_, loss in reports[start : start + 3]) / 3 for start in (0, 3)]
    assert losses(run.out) == pytest.approx(means, abs=1e-6)
