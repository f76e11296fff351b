"""The forward process of a checkpoint: read from any compatible scheduler, refused where the noise is unknown."""

from __future__ import annotations

import inspect
import json

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, EulerDiscreteScheduler, PNDMScheduler, ScoreSdeVeScheduler

from probebench.api import UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule
from probebench_ddpm.loading.scheduler_config import load_scheduler
from probebench_ddpm.options import DDPMOptions

SCHEDULER = "scheduler/scheduler_config.json"


@pytest.mark.parametrize(
    "schedule",
    [
        {"beta_schedule": "linear", "beta_start": 2e-4, "beta_end": 0.03},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.001 * step for step in range(1, 51)], "num_train_timesteps": 50},
        {"num_train_timesteps": 250},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample", "clip_sample": False, "clip_sample_range": 2.0},
        {"variance_type": "learned_range", "thresholding": True, "timestep_spacing": "trailing"},
        {"variance_type": "fixed_large"},
    ],
)
@pytest.mark.parametrize("kind", [DDPMScheduler, DDIMScheduler, PNDMScheduler, EulerDiscreteScheduler])
def test_the_noise_is_that_of_the_saved_schedule(tmp_path, kind, schedule):
    """Sampler, variances and clipping have no effect on it."""
    fitting = {key: value for key, value in schedule.items() if key in inspect.signature(kind.__init__).parameters}
    made = kind(**fitting)
    made.save_pretrained(tmp_path)
    loaded = load_scheduler(tmp_path / "scheduler_config.json")
    assert torch.equal(loaded.betas, made.betas)
    assert loaded.config.prediction_type == fitting.get("prediction_type", "epsilon")
    last = made.config.num_train_timesteps - 1
    share = float(made.alphas_cumprod[last])
    assert NoiseSchedule(loaded).level(last).sigma == pytest.approx(((1 - share) / share) ** 0.5, rel=1e-3)


def test_a_schedule_of_older_diffusers_without_prediction_type(saved, unet):
    path = saved(unet()) / SCHEDULER
    config = json.loads(path.read_text())
    kept = ("_class_name", "beta_start", "beta_end", "beta_schedule", "clip_sample", "num_train_timesteps")
    path.write_text(json.dumps({key: config[key] for key in kept}))
    loaded = DDPM(DDPMOptions(checkpoint=str(path.parent.parent)))
    assert loaded.scheduler.config.prediction_type == "epsilon"


@pytest.mark.parametrize("field", ["num_train_timesteps", "beta_schedule", "beta_start", "beta_end"])
def test_a_schedule_without_its_noise(refused_config, field):
    text = refused_config(of=SCHEDULER, without=(field,))
    assert text.startswith(f"scheduler_config.json lacks {field}")


def test_too_few_betas(refused_config):
    text = refused_config(of=SCHEDULER, trained_betas=[0.1, 0.2])
    assert text.startswith("trained_betas has 2 steps, num_train_timesteps is 1000")


@pytest.mark.parametrize("beta_end", [2.0, float("nan"), -1.0])
def test_betas_out_of_range(refused_config, beta_end):
    assert refused_config(of=SCHEDULER, beta_end=beta_end).startswith(
        "the schedule has a beta that is not between 0 and 1"
    )


def test_an_unknown_prediction(refused_config):
    text = refused_config(of=SCHEDULER, prediction_type="flow")
    assert text.startswith("prediction_type 'flow' is not supported")


def test_a_process_without_betas(tmp_path, unet):
    unet().save_pretrained(tmp_path / "unet")
    ScoreSdeVeScheduler().save_pretrained(tmp_path / "scheduler")
    with pytest.raises(UsageError, match=r"ScoreSdeVeScheduler does not describe a forward process in steps of beta"):
        DDPM(DDPMOptions(checkpoint=str(tmp_path)))


def test_the_last_level_of_zero_terminal_snr(saved, unet):
    backbone = DDPM(DDPMOptions(checkpoint=str(saved(unet(), rescale_betas_zero_snr=True))))
    assert backbone.level("998").sigma > 100
    with pytest.raises(UsageError, match=r"the input is pure noise at t=999\n.*--levels\n.*--levels 998"):
        backbone.level("999")


def test_a_learned_embedding_of_another_number_of_steps(saved, unet):
    network = unet(time_embedding_type="learned", num_train_timesteps=100)
    with pytest.raises(UsageError, match=r"the network has a time embedding for 100 steps, its schedule has 1000"):
        DDPM(DDPMOptions(checkpoint=str(saved(network, "wrong"))))
    assert DDPM(DDPMOptions(checkpoint=str(saved(network, "right", num_train_timesteps=100)))).level("99").sigma > 0
