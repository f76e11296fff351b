"""Pixel-space networks of every kind: features equal those of hooks on the network that diffusers loads."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

from probebench.api import normal
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.networks.taps import tap_modules
from probebench_ddpm.options import DDPMOptions


def levels(count: int, **config) -> dict:
    """Returns the config of a network with attention at the last of its levels."""
    plain = count - 1
    return {
        "block_out_channels": (8, *[16] * plain),
        "down_block_types": (*["DownBlock2D"] * plain, "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", *["UpBlock2D"] * plain),
        "layers_per_block": 1,
        **config,
    }


ADM = {
    **levels(3),
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "out_channels": 6,
}
"""Config of a network of the kind of Dhariwal and Nichol 2021, in diffusers' terms."""


DDPM_SAVED, DDIM_SAVED = (DDPMPipeline, DDPMScheduler), (DDIMPipeline, DDIMScheduler)


@pytest.mark.parametrize(
    ("saved_by", "network", "schedule"),
    [
        (DDPM_SAVED, levels(1), {}),
        (DDIM_SAVED, levels(2), {"beta_schedule": "squaredcos_cap_v2"}),
        (DDPM_SAVED, levels(5), {"prediction_type": "v_prediction"}),
        (DDPM_SAVED, levels(2, out_channels=6), {"variance_type": "learned_range"}),
        (DDIM_SAVED, ADM, {"beta_schedule": "scaled_linear", "num_train_timesteps": 400}),
        (DDPM_SAVED, {}, {"trained_betas": [1e-4 * step for step in range(1, 401)], "num_train_timesteps": 400}),
        (
            DDPM_SAVED,
            levels(2, time_embedding_type="learned", num_train_timesteps=400),
            {"num_train_timesteps": 400},
        ),
        (DDIM_SAVED, levels(2, add_attention=False), {"rescale_betas_zero_snr": True}),
        (DDIM_SAVED, levels(2, mid_block_type=None), {"prediction_type": "sample"}),
    ],
    ids=["flat", "cosine", "five-v", "learned-variance", "adm", "trained-betas", "learned-t", "zero-snr", "no-middle"],
)
def test_every_tap_is_that_of_the_pipeline(
    tmp_path, unet, batch, at, full_forward, assert_features, saved_by, network, schedule
):
    """The pipeline is saved and loaded by diffusers, and noised by its own `add_noise`."""
    pipeline, scheduler = saved_by
    pipeline(unet(**network), scheduler(**schedule)).save_pretrained(tmp_path)
    loaded = pipeline.from_pretrained(tmp_path)
    loaded.unet.eval()
    backbone, images = DDPM(DDPMOptions(checkpoint=str(tmp_path))), batch(3)
    modules = {tap.id: tap.module for tap in tap_modules(loaded.unet)}
    assert [tap.id for tap in backbone.taps((16, 16))] == list(modules)
    assert all(tap.id.count(".") < 2 for tap in backbone.taps((16, 16)) if tap.default), "default taps are blocks"
    noise = normal((3, 16, 16), seed=0, source=images.source, index=images.index.tolist())
    noised = loaded.scheduler.add_noise(images.images.float() / 127.5 - 1, noise, torch.full((3,), 300))
    maps = full_forward(loaded.unet, noised, 300, modules)
    features = backbone.extract(images, at(modules, ["t=300"], "flat"), seed=0)
    assert len(features) == len(modules)
    for point, vectors in features.items():
        assert_features(vectors, maps[point.tap].flatten(1), point.tap)


@pytest.fixture
def classes(saved, unet):
    """A network of five classes, and its folder."""
    network = unet(**levels(2, num_class_embeds=5))
    return network, saved(network, "classes")


def test_a_network_of_classes_gets_the_mean_class(classes, batch, at, full_forward):
    network, folder = classes
    backbone, images = DDPM(DDPMOptions(checkpoint=str(folder), noise="none")), batch(3)
    table = network.class_embedding.weight.detach()
    with torch.no_grad():
        table.copy_(table.mean(0).expand(5, -1))
    modules = {"down.0": "down_blocks.0", "mid": "mid_block", "up.1": "up_blocks.1"}

    clean = images.images.float() / 127.5 - 1
    maps = full_forward(network, clean, 10, modules, class_labels=torch.tensor([3, 0, 4]))
    for point, vectors in backbone.extract(images, at(modules), seed=0).items():
        torch.testing.assert_close(vectors, maps[point.tap].mean((2, 3)), rtol=1e-5, atol=1e-6, msg=point.tap)


def test_the_common_part_of_all_classes_may_be_in_the_table_or_in_the_embedding_of_t(classes, saved, batch, at):
    """These are two parametrisations of one network. Its features must not depend on which one a training found."""
    network, folder = classes
    images, points = batch(3), at(["mid", "up.1"])
    before = DDPM(DDPMOptions(checkpoint=str(folder))).extract(images, points, seed=0)
    shared = torch.linspace(-1, 1, network.class_embedding.weight.shape[1])
    with torch.no_grad():
        network.class_embedding.weight += shared
        network.time_embedding.linear_2.bias -= shared
    after = DDPM(DDPMOptions(checkpoint=str(saved(network, "moved")))).extract(images, points, seed=0)
    for point in points:
        torch.testing.assert_close(after[point], before[point], rtol=1e-4, atol=1e-5)
