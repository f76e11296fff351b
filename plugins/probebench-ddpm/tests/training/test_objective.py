"""Targets and loss weights: compared with closed forms in float64 and with diffusers."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler
from diffusers.training_utils import compute_snr
from hypothesis import given, settings
from hypothesis import strategies as st

from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule, alpha_bar, training_schedule
from probebench_ddpm.options import DDPMOptions, DDPMSampling
from probebench_ddpm.sampling.sampler import generate
from probebench_ddpm.sampling.scheduler import make_scheduler
from probebench_ddpm.training.objective import Objective
from probebench_ddpm.training.trainer import train

GAMMA = 5.0


def cosine(t: int) -> float:
    """Returns abar(t) of Nichol & Dhariwal 2021, equation 17, where t is counted from 1."""
    return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2


def linear(t: int) -> float:
    return math.prod(1 - (1e-4 + (0.02 - 1e-4) * step / 999) for step in range(t + 1))


def noised(seed, t, count=1):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(count, 3, 4, 4, generator=generator) * 2 - 1
    return clean, torch.randn(clean.shape, generator=generator), torch.full((count,), t)


def test_the_cosine_schedule_is_that_of_the_paper():
    """The last beta is clipped at 0.999; all steps before are the cosine."""
    found = alpha_bar(training_schedule("cosine", "epsilon"))
    expected = torch.tensor([cosine(t + 1) for t in range(999)], dtype=torch.float64)
    torch.testing.assert_close(found[:999], expected, rtol=2e-4, atol=0)
    assert float(found[999]) == pytest.approx(float(found[998]) * 0.001, rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["linear", "cosine"]), st.integers(0, 998), st.integers(0, 2**31))
def test_the_target_of_v_is_the_closed_form(schedule, t, seed):
    clean, noise, steps = noised(seed, t)
    share = linear(t) if schedule == "linear" else cosine(t + 1)
    expected = math.sqrt(share) * noise.double() - math.sqrt(1 - share) * clean.double()
    scheduler = training_schedule(schedule, "v")
    found = Objective(scheduler).target(clean, noise, steps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found, scheduler.get_velocity(clean, noise, steps), rtol=0, atol=1e-4)


@pytest.mark.parametrize("t", [0, 10, 500, 998])
def test_v_and_the_noised_image_give_image_and_noise(t):
    """They are a rotation of image and noise, which the scheduler inverts in sampling."""
    clean, noise, steps = noised(0, t)
    schedule = NoiseSchedule(training_schedule("cosine", "v"))
    signal, sigma = math.sqrt(cosine(t + 1)), math.sqrt(1 - cosine(t + 1))
    noisy, v = schedule.add_noise(clean, noise, steps), schedule.velocity(clean, noise, steps)
    torch.testing.assert_close(signal * noisy - sigma * v, clean, rtol=0, atol=1e-5)
    torch.testing.assert_close(sigma * noisy + signal * v, noise, rtol=0, atol=1e-5)


def test_the_target_is_the_noise_by_default():
    clean, noise, steps = noised(0, 300)
    assert Objective(training_schedule("linear", "epsilon")).target(clean, noise, steps) is noise


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_min_snr_weights(schedule, prediction):
    """They are min(SNR, gamma) / SNR for the noise and / (SNR + 1) for v, at every t, with the SNR of diffusers."""
    scheduler = training_schedule(schedule, prediction)
    objective = Objective(scheduler, GAMMA)
    steps = torch.arange(999)
    snr = compute_snr(DDPMScheduler.from_config(scheduler.config), steps).double()
    expected = snr.clamp(max=GAMMA) / (snr if prediction == "epsilon" else snr + 1)
    error = torch.ones(len(steps), 3, 1, 1)
    found = [objective.loss(error[:1], 0 * error[:1], t[None]) for t in steps]
    torch.testing.assert_close(torch.stack(found).double(), expected, rtol=2e-3, atol=1e-6)


def test_min_snr_weights_the_error_of_the_image_equally_for_both_predictions():
    """The same error of the image, as an error of the noise and as an error of v, has the weight min(SNR, gamma)."""
    generator = torch.Generator().manual_seed(0)
    error = torch.randn(4, 3, 4, 4, generator=generator)  # of the image
    steps = torch.tensor([5, 200, 500, 900])
    share = torch.tensor([linear(int(t)) for t in steps]).view(-1, 1, 1, 1)
    costs = {}
    for prediction, factor in (("epsilon", (share / (1 - share)).sqrt()), ("v", 1 / (1 - share).sqrt())):
        objective = Objective(training_schedule("linear", prediction), GAMMA)
        costs[prediction] = float(objective.loss(factor * error, torch.zeros_like(error), steps))
    weights = (share / (1 - share)).clamp(max=GAMMA).flatten()
    assert costs["epsilon"] == pytest.approx(float((weights * error.square().mean((1, 2, 3))).mean()), rel=1e-4)
    assert costs["epsilon"] == pytest.approx(costs["v"], rel=1e-4)


def test_without_min_snr_all_steps_have_equal_weights():
    predicted, target, _ = noised(1, 0, count=6)
    loss = Objective(training_schedule("linear", "epsilon")).loss(predicted, target, torch.arange(6) * 190)
    assert float(loss) == pytest.approx(float((predicted - target).square().mean()), rel=1e-6)


@pytest.fixture(scope="module")
def checkpoint(job_in, tmp_path_factory):
    """A checkpoint that predicts v on a cosine schedule; its training was interrupted after the first epoch."""
    out = tmp_path_factory.mktemp("v") / "run"
    recipe = {"prediction": "v", "schedule": "cosine", "min_snr": GAMMA}
    train(job_in(out, epochs=1, recipe=recipe))
    return train(job_in(out, epochs=2, recipe=recipe))


def test_the_checkpoint_stores_prediction_and_schedule(checkpoint):
    config = DDPMPipeline.from_pretrained(checkpoint).scheduler.config
    assert (config.prediction_type, config.beta_schedule) == ("v_prediction", "squaredcos_cap_v2")
    backbone = DDPM(DDPMOptions(checkpoint=str(checkpoint)))
    sigma = math.sqrt((1 - cosine(101)) / cosine(101))
    assert backbone.level("t=100").sigma == pytest.approx(sigma, rel=1e-4), "features are read with its noise"
    for sampler in ("ddim", "ddpm"):
        config = make_scheduler(backbone.scheduler, DDPMSampling(sampler=sampler)).config
        assert (config.prediction_type, config.beta_schedule) == ("v_prediction", "squaredcos_cap_v2")


def test_features_are_read_with_the_noise_of_the_schedule(checkpoint, batch, at, unet_inputs):
    images = batch(4, size=8)
    images.images.fill_(127)
    DDPM(DDPMOptions(checkpoint=str(checkpoint))).extract(images, at(["down.0"], ["t=300"]), seed=0)
    (sample, t), *_ = unet_inputs
    assert int(t) == 300
    assert float(sample.std()) == pytest.approx(math.sqrt(1 - cosine(301)), rel=0.1)


def test_the_loss_of_a_training_gets_v_and_t(job, monkeypatch):
    """It gets v of the images and the noise of the step, and the steps t for their weights."""
    of_loss, of_velocity = [], []
    loss, velocity = Objective.loss, NoiseSchedule.velocity
    monkeypatch.setattr(Objective, "loss", lambda *words: of_loss.append(words[2:]) or loss(*words))
    monkeypatch.setattr(NoiseSchedule, "velocity", lambda *words: of_velocity.append(words[1:]) or velocity(*words))
    train(job(epochs=1, recipe={"prediction": "v", "schedule": "cosine", "min_snr": GAMMA}))
    assert len(of_loss) == 3
    schedule = NoiseSchedule(training_schedule("cosine", "v"))
    for (target, steps), (clean, noise, t) in zip(of_loss, of_velocity, strict=False):  # losses by level follow
        assert torch.equal(steps, t)
        assert torch.equal(target, velocity(schedule, clean, noise, t))


def test_samples_are_those_of_diffusers(checkpoint):
    """The pipeline that diffusers loads from the folder starts from the same noise."""
    backbone = DDPM(DDPMOptions(checkpoint=str(checkpoint)))
    scheduler, calls = make_scheduler(backbone.scheduler, DDPMSampling(steps=10)), []

    def predict(images, t):
        calls.append(images)
        return backbone.predict(images, t)

    ours = generate(predict, scheduler, [0, 1], (3, 8, 8), seed=0, device="cpu")
    pipeline, images = DDIMPipeline.from_pretrained(checkpoint), calls[0]
    pipeline.scheduler.set_timesteps(10)
    with torch.inference_mode():
        for t in pipeline.scheduler.timesteps:
            images = pipeline.scheduler.step(pipeline.unet(images, t).sample, t, images).prev_sample
    torch.testing.assert_close(ours, images, rtol=0, atol=1e-4)
