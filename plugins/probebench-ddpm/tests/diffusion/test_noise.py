"""The option `noise`, tested on the inputs that the network gets."""

from __future__ import annotations

import pytest
import torch

from probebench.api import Batch, normal
from probebench_ddpm.diffusion.noise_schedule import alpha_bar, linear_schedule


@pytest.fixture
def inputs_of(unet_inputs):
    """Returns the inputs that the network gets at one level, one for each forward pass."""

    def extract(backbone, images, t=10, seed=0):
        from probebench.api import Point

        unet_inputs.clear()
        backbone.extract(images, [Point("down.0", f"t={t}", "gap")], seed=seed)
        return [sample for sample, _ in unet_inputs]

    return extract


def noise_in(sample: torch.Tensor, images: torch.Tensor, t: int) -> torch.Tensor:
    """Returns the unit noise in a noised input, in float64."""
    share = alpha_bar(linear_schedule())[t]
    clean = images.double() / 127.5 - 1
    return (sample.double() - share.sqrt() * clean) / (1 - share).sqrt()


def test_per_sample_noise_is_that_of_the_contract(build, batch, inputs_of):
    """Seed, source and index determine the noise."""
    images = batch(4, start=10)
    (sample,) = inputs_of(build(), images, t=500, seed=7)
    expected = normal((3, 16, 16), seed=7, source="toy/train", index=[10, 11, 12, 13])
    torch.testing.assert_close(noise_in(sample, images.images, 500), expected.double(), rtol=0, atol=1e-5)


def test_per_sample_noise_depends_on_seed_source_and_index_only(build, batch, inputs_of):
    backbone, images = build(), batch(3)
    (base,) = inputs_of(backbone, images)
    (again,) = inputs_of(backbone, images)
    assert torch.equal(base, again)
    for changed, seed in [
        (images, 1),
        (Batch(images.images, images.index, "toy/test"), 0),
        (Batch(images.images, images.index + 3, images.source), 0),
    ]:
        (other,) = inputs_of(backbone, changed, seed=seed)
        difference = (other - base).flatten(1).abs().max(1).values
        assert (difference > 1e-3).all(), "the noise of every image changes"


def test_per_sample_noise_does_not_depend_on_the_image(build, batch, inputs_of):
    dark, light = batch(3, seed=1), batch(3, seed=2)
    (first,), (second,) = inputs_of(build(), dark, t=700), inputs_of(build(), light, t=700)
    torch.testing.assert_close(
        noise_in(first, dark.images, 700), noise_in(second, light.images, 700), rtol=0, atol=1e-5
    )


def test_images_of_a_batch_have_different_noise(build, batch, inputs_of):
    images = batch(4)
    (sample,) = inputs_of(build(), images, t=500)
    noise = noise_in(sample, images.images, 500).flatten(1)
    correlation = torch.corrcoef(noise) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.2


@pytest.mark.parametrize("policy", ["per-sample", "shared"])
def test_levels_are_compared_on_equal_noise(build, batch, inputs_of, policy):
    backbone, images = build(noise=policy), batch(2)
    unit = {t: noise_in(inputs_of(backbone, images, t=t)[0], images.images, t) for t in (100, 500, 999)}
    torch.testing.assert_close(unit[100], unit[500], rtol=0, atol=1e-4)
    torch.testing.assert_close(unit[999], unit[500], rtol=0, atol=1e-4)


def test_noise_grows_with_t(build, batch, inputs_of):
    images = batch(8)
    images.images.fill_(127)
    steps = [0, 1, 5, 10, 50, 200, 500, 999]
    spread = [float(inputs_of(build(), images, t=t)[0].std()) for t in steps]
    assert spread == sorted(spread)
    expected = (1 - alpha_bar(linear_schedule())[steps]).sqrt().tolist()
    assert spread == pytest.approx(expected, rel=0.03)


def test_shared_noise_is_one_sample_for_all_images(build, batch, inputs_of):
    backbone = build(noise="shared")
    images = batch(5)
    (sample,) = inputs_of(backbone, images, t=500)
    noise = noise_in(sample, images.images, 500)
    torch.testing.assert_close(noise, noise[:1].expand_as(noise), rtol=0, atol=1e-5)
    elsewhere = Batch(images.images, images.index + 100, "toy/test")
    assert torch.equal(inputs_of(backbone, elsewhere, t=500)[0], sample), "in all splits"
    (other,) = inputs_of(backbone, images, t=500, seed=1)
    assert float((other - sample).abs().max()) > 0.1, "another seed gives another sample"


@pytest.mark.parametrize("draws", [2, 3])
def test_mean_is_the_average_over_noise_samples(saved, unet, batch, at, full_forward, inputs_of, draws):
    from probebench_ddpm.backbones.ddpm import DDPM
    from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule
    from probebench_ddpm.options import DDPMOptions

    network, images = unet(), batch(3)
    backbone = DDPM(DDPMOptions(checkpoint=str(saved(network)), noise="mean", draws=draws))
    clean, steps = images.images.float() / 127.5 - 1, torch.full((3,), 200)
    schedule = NoiseSchedule(linear_schedule())
    maps = []
    for draw in range(draws):
        noise = normal((3, 16, 16), seed=4, source=images.source, index=[0, 1, 2], sample=draw)
        noised = schedule.add_noise(clean, noise, steps)
        maps.append(full_forward(network, noised, 200, {"up.1": "up_blocks.1"})["up.1"].mean((2, 3)))
    (point,) = at(["up.1"], ["t=200"])
    features = backbone.extract(images, [point], seed=4)[point]
    torch.testing.assert_close(features, torch.stack(maps).mean(0), rtol=1e-5, atol=1e-6)
    assert len(inputs_of(backbone, images, t=200)) == draws


def test_the_number_of_noise_samples_matters(build, batch, at):
    images, points = batch(3), at(["up.1"], ["t=200"])
    (two,) = build(noise="mean", draws=2).extract(images, points, seed=0).values()
    (four,) = build(noise="mean", draws=4).extract(images, points, seed=0).values()
    assert not torch.allclose(two, four, rtol=1e-4)


def test_the_first_noise_sample_of_mean_is_per_sample_noise(build, batch, inputs_of):
    images = batch(3)
    assert torch.equal(inputs_of(build(noise="mean", draws=2), images)[0], inputs_of(build(), images)[0])


def test_draws_has_no_effect_without_mean(build, batch, inputs_of):
    images = batch(3)
    (sample,) = inputs_of(build(draws=8), images)
    assert torch.equal(sample, inputs_of(build(draws=2), images)[0])


def test_none_feeds_t_and_adds_no_noise(build, batch, at, inputs_of):
    backbone, images = build(noise="none", widths=(8, 16, 16, 16)), batch(3)
    clean = images.images.float() / 127.5 - 1
    for t in (0, 10, 999):
        assert torch.equal(inputs_of(backbone, images, t=t)[0], clean)
    near, far = at(["mid"], ["t=0"])[0], at(["mid"], ["t=500"])[0]
    features = backbone.extract(images, [near, far], seed=0)
    assert not torch.allclose(features[near], features[far], rtol=1e-3), "t reaches the network"
    other = backbone.extract(images, [near], seed=1)
    assert torch.equal(other[near], features[near]), "the seed has no effect"
