"""Sampling: the arithmetic of diffusers, the distribution of samples, and independence of the batch."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler

from probebench.api import FeatureError, SamplingJob, UsageError, hash63
from probebench.plugins.option_text import validate
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.networks.scaling import to_input
from probebench_ddpm.options import DDPMOptions, DDPMSampling
from probebench_ddpm.sampling.sampler import generate, sample, to_uint8
from probebench_ddpm.sampling.scheduler import make_scheduler


def noise(seed, index, step, shape):
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(hash63("sample", seed, i, step))) for i in index]
    return torch.stack(rows)


def job(backbone, index, seed=0, batch_size=64, progress=lambda _: None, precision="fp32", **options):
    return SamplingJob(backbone, DDPMSampling(**options), index, seed, "cpu", precision, batch_size, progress)


def generated(*arguments, **named):
    """Generates images, by number."""
    parts = list(sample(job(*arguments, **named)))
    return {number: image for index, images in parts for number, image in zip(index, images, strict=True)}


CASES = {
    "ddim": ({}, {"steps": 20}),
    "ddim with few steps and noise": ({}, {"steps": 5, "eta": 0.7}),
    "ddim, trailing": ({"timestep_spacing": "trailing"}, {"steps": 4, "spacing": "trailing"}),
    "ddim, v": ({"prediction_type": "v_prediction", "beta_schedule": "squaredcos_cap_v2"}, {"steps": 10}),
    "ddim without clipping": ({"clip_sample": False}, {"steps": 10}),
    "ddpm, small": ({}, {"sampler": "ddpm", "steps": 20, "variance_type": "fixed_small"}),
    "ddpm, large": ({"variance_type": "fixed_large"}, {"sampler": "ddpm", "steps": 20, "variance_type": "fixed_large"}),
    "ddpm, few steps": ({}, {"sampler": "ddpm", "steps": 5}),
    "ddpm, v": ({"prediction_type": "v_prediction"}, {"sampler": "ddpm", "steps": 20}),
    "ddpm, image": ({"prediction_type": "sample"}, {"sampler": "ddpm", "steps": 20}),
    "ddpm, thresholding": ({"thresholding": True}, {"sampler": "ddpm", "steps": 20}),
}


@pytest.mark.parametrize("case", CASES)
def test_samples_are_those_of_diffusers_pipelines_from_the_same_noise(case, unet, saved, monkeypatch):
    schedule, options = CASES[case]
    schedule = {"num_train_timesteps": 20, "beta_start": 0.005, "beta_end": 0.5, **schedule}
    network, index = unet().requires_grad_(False), [4, 0, 7]
    ours = generated(DDPM(DDPMOptions(checkpoint=str(saved(network, **schedule)))), index, seed=5, **options)

    # The pipeline samples noise at the start and in each step that adds some: these are the tensors in that order.
    steps = range(20)[:: 20 // options["steps"]]
    times = [t + (20 // options["steps"] - 1 if options.get("spacing") == "trailing" else 0) for t in reversed(steps)]
    ready = iter([noise(5, index, step, (3, 16, 16)) for step in ("start", *times)])
    kind, eta = ("ddpm", {}) if options.get("sampler") else ("ddim", {"eta": options.get("eta", 0.0)})
    for module in (f"schedulers.scheduling_{kind}", f"pipelines.{kind}.pipeline_{kind}"):
        monkeypatch.setattr(f"diffusers.{module}.randn_tensor", lambda *_, **__: next(ready))
    pipeline = {"ddpm": DDPMPipeline, "ddim": DDIMPipeline}[kind](network, DDPMScheduler(**schedule))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(batch_size=3, num_inference_steps=options["steps"], output_type="np", **eta).images
    theirs = torch.from_numpy((images * 255).round()).permute(0, 3, 1, 2)
    # The pipeline ends with another operation, x / 2 + 0.5, and the network rounds differently in another memory
    # layout. The difference is far below one step of 255, but a value near the middle between two steps may be rounded
    # to the other one.
    difference = (torch.stack([ours[number] for number in index]).float() - theirs).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02
    assert theirs.std() > 10, "the images are not constant"


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "ddpm", "variance_type": "fixed_large"},
        {"sampler": "ddpm", "variance_type": "fixed_small"},
        {"steps": 250},
        {"steps": 250, "spacing": "trailing"},
        {"steps": 1000, "eta": 1.0},  # with 250 steps s is 6 % too small
    ],
    ids=str,
)
def test_a_perfect_network_samples_its_distribution(options, prediction):
    """For data from N(mu, s^2) the best prediction has a closed form; samples must have that mean and s."""
    mu, s = 0.3, 0.2
    trained = DDPMScheduler(prediction_type=prediction, clip_sample=False)
    share = torch.cumprod(1 - trained.betas.double(), 0)

    def predict(noised, t):
        a = float(share[t])
        eps = math.sqrt(1 - a) * (noised - math.sqrt(a) * mu) / (a * s**2 + 1 - a)
        if prediction == "epsilon":
            return eps
        clean = (noised - math.sqrt(1 - a) * eps) / math.sqrt(a)
        return math.sqrt(a) * eps - math.sqrt(1 - a) * clean

    parsed = DDPMSampling(**options)
    scheduler = make_scheduler(trained, parsed)
    images = generate(predict, scheduler, range(12), (3, 16, 16), seed=1, device="cpu", eta=parsed.eta).double()
    # With 9,216 values the standard error of mean and s is about 1 % of s; finite steps add to it.
    assert float(images.mean()) == pytest.approx(mu, abs=0.04 * s)
    assert float(images.std()) == pytest.approx(s, rel=0.04)


@pytest.fixture(scope="module")
def bundled():
    return DDPM(DDPMOptions())


@pytest.mark.parametrize("options", [{"steps": 5, "eta": 0.5}, {"sampler": "ddpm", "steps": 5}], ids=str)
def test_an_image_does_not_depend_on_its_batch(bundled, options, unet_inputs):
    whole = generated(bundled, list(range(6)), **options)
    inputs = {int(t): x for x, t in unet_inputs}
    unet_inputs.clear()
    alone = generated(bundled, [5, 2], batch_size=1, **options)
    first = max(inputs)
    starts = [x for x, t in unet_inputs if int(t) == first]
    assert torch.equal(torch.cat(starts), inputs[first][[5, 2]]), "the noise is bit-identical"
    for number, image in alone.items():
        # The network rounds differently in another batch, by about 1e-6; few values are that close to a half.
        difference = (image.int() - whole[number].int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 5e-3
    assert not torch.equal(whole[0], whole[1])


def test_the_same_job_is_bit_identical(bundled):
    once, again = (generated(bundled, [0, 1], steps=4) for _ in range(2))
    other = generated(bundled, [0, 1], seed=1, steps=4)
    for number in (0, 1):
        assert torch.equal(once[number], again[number])
        assert not torch.equal(once[number], other[number])


def test_the_global_random_state_is_unchanged(bundled):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    generated(bundled, [0], sampler="ddpm", steps=2)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_those_of_the_options(bundled):
    untrained = DDPM(DDPMOptions(weights="random"))
    assert not torch.equal(generated(bundled, [0], steps=2)[0], generated(untrained, [0], steps=2)[0])


def test_bf16_is_near_fp32(bundled):
    exact = generated(bundled, range(4), steps=5)
    rough = generated(DDPM(DDPMOptions()), range(4), steps=5, precision="bf16")
    differences = [(exact[number].float() - rough[number].float()).abs().mean() for number in range(4)]
    assert 0 < max(differences) < 8, "rounding differs, the image is the same"


def test_progress_counts_images_step_by_step(bundled):
    reported = []
    generated(bundled, range(5), batch_size=2, steps=4, progress=reported.append)
    assert reported == [0.5] * 8 + [0.25] * 4
    assert sum(reported) == 5


def test_to_uint8_inverts_to_input():
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_input(values)), values)
    assert to_uint8(torch.tensor([-1.2, -1.0, 0.0, 1.0, 1.3])).tolist() == [0, 0, 128, 255, 255]


def test_clipping_is_an_option():
    def predict(noised, t):
        return torch.full_like(noised, 3.0)

    def largest(clip, **config):
        trained = DDPMScheduler(prediction_type="sample", **config)
        scheduler = make_scheduler(trained, DDPMSampling(steps=4, clip=clip))
        return float(generate(predict, scheduler, [0], (3, 4, 4), seed=0, device="cpu").max())

    assert largest(None) == pytest.approx(1)
    assert largest(None, clip_sample=False) == pytest.approx(3)
    assert largest(False) == pytest.approx(3)
    assert largest(True, clip_sample=False) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"sampler": "ddim", "steps": 50, "variance_type": None}),
        ({"sampler": "ddpm"}, {"steps": 1000, "variance_type": "fixed_large"}),
        ({"sampler": "ddpm", "steps": "100"}, {"steps": 100, "variance_type": "fixed_small"}),
        ({"sampler": "ddpm", "steps": "100", "variance_type": "fixed_large"}, {"variance_type": "fixed_large"}),
        ({"sampler": "ddpm", "variance_type": "fixed_small"}, {"steps": 1000, "variance_type": "fixed_small"}),
    ],
)
def test_defaults_follow_the_sampler(options, expected):
    parsed = DDPMSampling(**options)
    assert {name: getattr(parsed, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "option sampler=euler should be 'ddim' or 'ddpm'"),
        ({"steps": "0"}, "option steps=0 should be greater than or equal to 1"),
        ({"variance_type": "fixed_small"}, "variance_type is an option of sampler=ddpm; ddim has eta"),
        ({"sampler": "ddpm", "eta": "0.5"}, "eta and spacing are options of sampler=ddim"),
        ({"sampler": "ddpm", "spacing": "trailing"}, "eta and spacing are options of sampler=ddim"),
        ({"eta": "1.5"}, "option eta=1.5 should be less than or equal to 1"),
        ({"step": "5"}, "there is no option 'step'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UsageError) as caught:
        validate(DDPMSampling, options, "ddpm")
    assert caught.value.what == message


@pytest.mark.parametrize("steps", [300, 1500])
def test_steps_that_do_not_divide_the_schedule(bundled, steps):
    with pytest.raises(UsageError) as caught:
        generated(bundled, [0], steps=steps)
    assert caught.value.what == f"{steps} steps cannot be spaced evenly over the 1000 steps of the schedule"
    assert caught.value.hint.endswith("200, 250, 500, 1000")


def test_a_network_with_learned_variance():
    scheduler = make_scheduler(DDPMScheduler(), DDPMSampling(steps=2))
    with pytest.raises(UsageError, match="predicts 6 channels, images have 3"):
        generate(lambda x, t: torch.cat([x, x], 1), scheduler, [0], (3, 4, 4), seed=0, device="cpu")


def test_an_image_that_is_not_finite():
    scheduler = make_scheduler(DDPMScheduler(clip_sample=False), DDPMSampling(steps=2))

    def predict(noised, t):
        broken = noised.clone()
        broken[1, 0, 0, 0] = math.nan
        return broken

    with pytest.raises(FeatureError, match="image 8 is not finite"):
        generate(predict, scheduler, [7, 8], (3, 4, 4), seed=0, device="cpu")
