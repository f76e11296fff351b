"""The amount of noise at step t, also in low precision."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from probebench.api import UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule, alpha_bar, linear_schedule
from probebench_ddpm.options import DDPMOptions

# sigma = sqrt((1 - abar) / abar) of the linear schedule, tabulated from its definition.
SIGMAS = {
    0: 0.0100, 10: 0.0469, 20: 0.0794, 50: 0.1760, 90: 0.3082,
    100: 0.3423, 150: 0.5220, 200: 0.7236, 261: 1.015, 300: 1.240,
}  # fmt: skip


@pytest.fixture
def schedule() -> NoiseSchedule:
    return NoiseSchedule(linear_schedule())


def closed_form() -> torch.Tensor:
    """Returns abar of beta = 1e-4 .. 0.02 in float64, without diffusers."""
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0)


def test_alpha_bar_is_that_of_the_linear_schedule():
    torch.testing.assert_close(alpha_bar(linear_schedule()), closed_form(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_alpha_bar_agrees_with_diffusers(name):
    scheduler = DDPMScheduler(beta_schedule=name)
    torch.testing.assert_close(alpha_bar(scheduler), scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-8)


def test_sigmas(schedule):
    assert {t: schedule.level(t).sigma for t in SIGMAS} == pytest.approx(SIGMAS, rel=1e-3)


def test_step_0_is_not_free_of_noise(schedule):
    assert schedule.level(0).sigma == pytest.approx(0.0100005, abs=1e-6)
    noised = schedule.add_noise(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64), torch.tensor([0]))
    assert float(noised.mean()) == pytest.approx(0.01, rel=1e-4)


def test_t_11_of_ddae_is_t_10(schedule):
    """DDAE's table starts at 1 with the first beta; its t = 11 has abar = 0.997806."""
    assert float(alpha_bar(linear_schedule())[10]) == pytest.approx(0.997806, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(0, 2**31))
def test_added_noise_is_the_closed_form(t, seed):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(2, 3, 4, 4, generator=generator) * 2 - 1
    noise = torch.randn(2, 3, 4, 4, generator=generator)
    share = closed_form()[t]
    expected = share.sqrt() * clean.double() + (1 - share).sqrt() * noise.double()
    noised = NoiseSchedule(linear_schedule()).add_noise(clean, noise, torch.tensor([t, t]))
    assert noised.dtype == torch.float32
    torch.testing.assert_close(noised.double(), expected, rtol=0, atol=1e-6)


def test_every_image_has_its_own_step(schedule):
    clean, noise = torch.ones(3, 3, 2, 2), torch.zeros(3, 3, 2, 2)
    noised = schedule.add_noise(clean, noise, torch.tensor([0, 500, 999]))
    assert noised[:, 0, 0, 0].double().tolist() == pytest.approx(closed_form()[[0, 500, 999]].sqrt().tolist(), rel=1e-5)


@pytest.mark.parametrize(("t", "theirs"), [(0, 0.0), (3, 0.0), (5, 0.0), (10, 0.0625)])
def test_bf16_loses_noise_in_diffusers_and_not_here(schedule, t, theirs):
    """diffusers casts abar to the images' dtype; bf16 has no number between 0.996 and 1."""
    clean = torch.zeros(1, 3, 64, 64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([t])
    true = float((1 - closed_form()[t]).sqrt())
    in_diffusers = linear_schedule().add_noise(clean.bfloat16(), noise.bfloat16(), steps).float()
    assert float(in_diffusers.std()) == pytest.approx(theirs, rel=0.03, abs=1e-9)
    ours = schedule.add_noise(clean, noise, steps).bfloat16().float()
    assert float(ours.std()) == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize("t", [0, 5, 10])
def test_a_bf16_network_gets_all_of_the_noise(batch, at, unet_inputs, t):
    backbone = DDPM(DDPMOptions(checkpoint="none", widths=(8, 8, 8, 8)))
    backbone.move_to("cpu", "bf16")
    images = batch(16)
    images.images.fill_(127)  # -0.004: near 0, the resolution of bf16 is high enough for the noise
    backbone.extract(images, at(["down.0"], [f"t={t}"]), seed=0)
    sample, _ = unet_inputs[0]
    assert sample.dtype == torch.bfloat16
    assert float(sample.float().std()) == pytest.approx(float((1 - closed_form()[t]).sqrt()), rel=0.03)


def test_levels_are_written_with_or_without_t(build):
    backbone = build()
    assert backbone.level("10") == backbone.level("t=10") == backbone.level(" t=10 ")
    assert backbone.level("999").id == "t=999"
    assert backbone.level(backbone.levels()[0].id) == backbone.levels()[0]


@pytest.mark.parametrize("text", ["1000", "t=1000", "-1", "clean", "t=", "", "1.5", "sigma=0.1"])
def test_levels_that_do_not_exist(build, text):
    with pytest.raises(UsageError, match=r"no level .*\n.*--levels\n.*t from 0 \(least noise\) to 999") as error:
        build().level(text)
    assert error.value.exit_code == 2


def test_a_checkpoint_has_its_own_schedule(saved, unet):
    folder = saved(unet(), num_train_timesteps=400, beta_schedule="squaredcos_cap_v2")
    backbone = DDPM(DDPMOptions(checkpoint=str(folder)))
    share = float(DDPMScheduler(num_train_timesteps=400, beta_schedule="squaredcos_cap_v2").alphas_cumprod[100])
    assert backbone.level("t=100").sigma == pytest.approx(((1 - share) / share) ** 0.5, rel=1e-4)
    with pytest.raises(UsageError, match=r"to 399"):
        backbone.level("400")
