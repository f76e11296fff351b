"""The option `scale`: used in training, reading and sampling, and stored in the manifest."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from probebench.api import ProbebenchWarning, SamplingJob, UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.export import training_command
from probebench_ddpm.networks.scaling import input_range, to_input
from probebench_ddpm.options import DDPMOptions, DDPMSampling
from probebench_ddpm.sampling import sampler
from probebench_ddpm.training import randomness
from probebench_ddpm.training.trainer import train

BLACK_AND_WHITE = torch.tensor([0, 255], dtype=torch.uint8).repeat(4, 3, 8, 4)


@pytest.fixture
def wrong(job):
    """A checkpoint that was trained on inputs from -1.11 to 1.11."""
    return train(job("wrong", epochs=1, options={"scale": 1.11}))


def test_black_and_white_are_the_scale():
    assert to_input(BLACK_AND_WHITE, 1.11).unique().tolist() == pytest.approx([-1.11, 1.11])
    assert to_input(BLACK_AND_WHITE).unique().tolist() == [-1, 1]


def test_another_scale_is_another_training(job, wrong):
    right = train(job("right", epochs=1))
    documents = [json.loads((folder / "manifest.json").read_text()) for folder in (right, wrong)]
    assert [document["input_range"] for document in documents] == [[-1.0, 1.0], [-1.11, 1.11]]
    assert [",scale=1.11 " in training_command(document) for document in documents] == [False, True]
    backbones = [DDPM(DDPMOptions(checkpoint=str(right))), DDPM(DDPMOptions(checkpoint=str(wrong), scale=1.11))]
    assert backbones[0].training_stage.recipe != backbones[1].training_stage.recipe
    with pytest.raises(UsageError, match=r"the run in this folder was started with scale=1.11\n"):
        train(job("wrong", epochs=2))


def test_the_network_is_trained_on_the_scaled_images(job, monkeypatch):
    given = []
    monkeypatch.setattr(randomness, "to_input", lambda images, scale: given.append(scale) or to_input(images, scale))
    train(job(epochs=1, options={"scale": 1.11}))
    assert set(given) == {1.11}


def test_reading_with_another_scale_than_in_training_is_a_warning(wrong):
    with pytest.warns(
        ProbebenchWarning, match=r"was trained on inputs from -1.11 to 1.11, and is read with inputs from -1 to 1"
    ):
        DDPM(DDPMOptions(checkpoint=str(wrong)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone = DDPM(DDPMOptions(checkpoint=str(wrong), scale=1.11))
        DDPM(DDPMOptions(checkpoint=str(wrong), weights="random"))
    assert backbone.input_range == input_range(1.11)
    assert backbone.prepare(BLACK_AND_WHITE).unique().tolist() == pytest.approx([-1.11, 1.11])


@pytest.mark.parametrize("scale", [1.0, 1.11])
def test_generated_images_are_clipped_and_converted_at_that_scale(build, monkeypatch, scale):
    clipped = []

    def generate(_predict, scheduler, index, shape, **_):
        clipped.append(scheduler.config.clip_sample_range)
        return torch.full((len(index), *shape), scale)

    monkeypatch.setattr(sampler, "generate", generate)
    job = SamplingJob(build(scale=scale), DDPMSampling(steps=2), [0, 1], 0, "cpu", "fp32", 2, lambda _: None)
    [(_, images)] = sampler.sample(job)
    assert images.unique().tolist() == [255]
    assert clipped == [scale]


def test_the_default_scale_is_in_no_key():
    assert "scale" in DDPMOptions().excluded_fields()
    assert "scale" not in DDPMOptions(scale=1.11).excluded_fields()
