"""The taps of a U-Net: names, shapes and costs."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DModel

from probebench.api import UsageError
from probebench_ddpm.diffusion.denoiser import Denoiser
from probebench_ddpm.networks.attention import has_attention
from probebench_ddpm.networks.taps import describe_taps, tap_modules
from probebench_ddpm.networks.unet import random_unet, unet_config
from probebench_ddpm.options import DDPMOptions

FULL = (128, 256, 256, 256)
"""The network of Ho et al. 2020 for CIFAR-10, of DDAE and of the thesis: 35.7 M weights."""

# Share of the full forward's FLOPs up to the output of a block, in percent, with attention, counted by hand for
# diffusers 0.42 at 32x32. At 64x64 only the share of attention differs.
SHARES = {
    "down.0": 10.4,
    "down.1": 22.9,
    "down.2": 25.4,
    "down.3": 26.0,
    "mid": 26.7,
    "up.0": 28.8,
    "up.1": 37.1,
    "up.2": 73.8,
    "up.3": 99.9,
}
# Side of the image divided by the side of each block's output, after the down- or upsampler.
STRIDES = {
    "down.0": 2, "down.1": 4, "down.2": 8, "down.3": 8, "mid": 8, "up.0": 4, "up.1": 2, "up.2": 1, "up.3": 1
}  # fmt: skip


def on_meta(*, attention: bool = True) -> UNet2DModel:
    """Builds the full network without allocating memory."""
    with torch.device("meta"):
        return UNet2DModel.from_config(unet_config(widths=FULL, attention=attention, size=32))


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("side", [32, 64])
def test_nine_blocks_with_their_shapes(side, attention):
    taps = describe_taps(Denoiser(on_meta(attention=attention)), (3, side, side))
    channels = {name: 128 if name in ("down.0", "up.3") else 256 for name in STRIDES}
    assert {tap.id: tap.shape for tap in taps if tap.default} == {
        name: (channels[name], side // stride, side // stride) for name, stride in STRIDES.items()
    }


def test_images_need_not_be_square(build):
    shapes = {tap.id: tap.shape for tap in build().taps((16, 24))}
    assert shapes["down.0"] == (8, 8, 12)
    assert shapes["mid"] == (8, 2, 3)


def test_flop_shares_of_the_full_network():
    taps = {tap.id: tap.cost for tap in describe_taps(Denoiser(on_meta()), (3, 32, 32))}
    assert {name: 100 * taps[name] for name in SHARES} == pytest.approx(SHARES, abs=0.1)


def test_an_architecture_is_described_once(monkeypatch):
    """Networks that differ only in their weights have the same taps; any other difference needs another pass."""
    passes, on_meta = [], Denoiser.on_meta
    monkeypatch.setattr(Denoiser, "on_meta", lambda self: passes.append(self) or on_meta(self))

    def taps(*, shape=(3, 24, 40), seed=0, attention=True, encoder_flops=0):
        network = random_unet(unet_config(widths=(8, 8, 8, 8), attention=attention, size=16), seed=seed)
        return describe_taps(Denoiser(network), shape, encoder_flops=encoder_flops)

    first = taps()
    assert taps(seed=1) == first
    assert len(passes) == 1
    others = [taps(shape=(3, 40, 24)), taps(attention=False), taps(encoder_flops=10**6)]
    assert all(other != first for other in others)
    assert len(passes) == 4


def test_the_full_network_has_the_published_number_of_weights():
    """35.75 M, as stated by DDAE for its DDPM; google/ddpm-cifar10-32 has the same number."""
    assert sum(weight.numel() for weight in on_meta().parameters()) == 35_746_307


@pytest.mark.parametrize(
    ("widths", "attention"), [((8, 8, 8, 8), True), ((8, 16, 24, 32), True), ((4, 8, 8, 8), False)]
)
def test_attention_is_at_the_second_level_and_in_the_middle_block_or_nowhere(widths, attention):
    network = random_unet(unet_config(widths=widths, attention=attention, size=16), seed=0)
    assert has_attention(network) is attention
    names = {name for name, _ in network.named_modules() if ".attentions." in name and name.count(".") <= 3}
    blocks = {name.partition(".attentions")[0] for name in names}
    assert blocks == ({"down_blocks.1", "mid_block", "up_blocks.2"} if attention else set())


def test_names_of_the_thesis_count_resolutions(build):
    names = {tap.id: tap.aliases for tap in build().taps((16, 16)) if tap.default}
    assert names == {
        "down.0": ("thesis:Downsample 1",),
        "down.1": ("thesis:Downsample 2",),
        "down.2": ("thesis:Downsample 3",),
        "down.3": ("thesis:Downsample 4",),
        "mid": ("thesis:Middle",),
        "up.0": ("thesis:Upsample 4",),
        "up.1": ("thesis:Upsample 3",),
        "up.2": ("thesis:Upsample 2",),
        "up.3": ("thesis:Upsample 1",),
    }


@pytest.mark.parametrize("attention", [True, False])
def test_names_of_ddae_count_the_layers_of_the_decoder(build, attention):
    """DDAE's out_k is the k-th residual layer of the decoder with its attention, if it has one."""
    found = {
        alias.removeprefix("ddae:"): tap.id
        for tap in build(attention=attention).taps((16, 16))
        for alias in tap.aliases
        if alias.startswith("ddae:")
    }
    layers_per_block = 2
    expected = {}
    for k in range(1, 13):
        block, layer = divmod(k - 1, layers_per_block + 1)
        kind = "attentions" if attention and block == 2 else "resnets"
        expected[f"out_{k}"] = f"up.{block}.{kind}.{layer}"
    assert found == expected
    assert found["out_6"] == "up.1.resnets.2"


@pytest.mark.parametrize("attention", [True, False])
def test_taps_are_in_the_order_of_the_forward_pass(unet, attention):
    network = unet(attention=attention)
    order: list[str] = []
    for tap in tap_modules(network):
        network.get_submodule(tap.module).register_forward_hook(lambda *_, name=tap.id: order.append(name))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 16, 16), 0)
    assert order == [tap.id for tap in tap_modules(network)]


def test_every_layer_is_a_fine_tap(build):
    taps = {tap.id: tap for tap in build().taps((16, 16))}
    layers = {f"down.{block}.resnets.{layer}" for block in range(4) for layer in range(2)}
    layers |= {f"up.{block}.resnets.{layer}" for block in range(4) for layer in range(3)}
    layers |= {f"down.1.attentions.{layer}" for layer in range(2)} | {f"up.2.attentions.{layer}" for layer in range(3)}
    layers |= {"mid.resnets.0", "mid.attentions.0", "mid.resnets.1"}
    assert {name for name, tap in taps.items() if not tap.default} == layers
    assert taps["up.1.resnets.2"].shape == (8, 4, 4), "DDAE reads before the upsampler"
    assert taps["up.1"].shape == (8, 8, 8)


@pytest.mark.parametrize("size", [(12, 16), (16, 20), (4, 4)])
def test_an_image_that_cannot_be_halved_three_times(build, size):
    message = rf"images of {size[0]}x{size[1]} cannot be halved 3 times\n.*\n.*multiples of 8"
    with pytest.raises(UsageError, match=message) as error:
        build().taps(size)
    assert error.value.exit_code == 2


def test_a_checkpoint_refuses_other_sizes_than_its_own(saved, unet):
    from probebench_ddpm.backbones.ddpm import DDPM

    backbone = DDPM(DDPMOptions(checkpoint=str(saved(unet()))))
    assert backbone.image_size == (16, 16)
    with pytest.raises(
        UsageError,
        match=r"trained on 16x16 images, these are 32x32\n.*\n.*image_size=16 on .*checkpoint=cifar10-jpeg \(32x32\)",
    ):
        backbone.taps((32, 32))
    with pytest.raises(UsageError, match=r"these are 8x8\n.*\n.*checkpoint=none \(random weights\)"):
        backbone.taps((8, 8))


@pytest.mark.parametrize("size", [(16, 24), None])
def test_other_forms_of_a_size_in_diffusers(saved, unet, size):
    from probebench_ddpm.backbones.ddpm import DDPM

    backbone = DDPM(DDPMOptions(checkpoint=str(saved(unet(sample_size=size)))))
    assert backbone.image_size == (size or (32, 32))
    assert backbone.taps(backbone.image_size)[-1].shape == (8, *backbone.image_size)
