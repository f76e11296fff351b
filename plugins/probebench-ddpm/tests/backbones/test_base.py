"""Features are those of a whole forward pass, for any request and any batching."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.modules.module import register_module_forward_hook

from probebench.api import Batch, Point
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.networks.taps import tap_modules
from probebench_ddpm.options import DDPMOptions


def to_input(images):
    return images.float() / 127.5 - 1


@pytest.mark.parametrize("t", [0, 10, 900])
@pytest.mark.parametrize("attention", [True, False])
def test_every_tap_is_the_output_of_its_module_in_a_whole_forward(
    saved, unet, batch, at, full_forward, blocks, assert_features, attention, t
):
    """Each tap is requested alone, so that the pass stops right after it; the reference pass does not stop."""
    network = unet(attention=attention)
    modules = {tap.id: tap.module for tap in tap_modules(network)}
    assert blocks.items() <= modules.items()
    backbone = DDPM(DDPMOptions(checkpoint=str(saved(network)), attention=attention, noise="none"))
    images = batch()
    maps = full_forward(network, to_input(images.images), t, modules)
    for tap, expected in maps.items():
        (point,) = at([tap], [f"t={t}"], "flat")
        features = backbone.extract(images, [point], seed=0)[point]
        assert_features(features, expected.flatten(1), tap)


@pytest.mark.parametrize("pool", ["gap", "max", "grid2", "flat"])
def test_pools_of_one_tap(saved, unet, batch, at, full_forward, pool):
    network = unet()
    backbone = DDPM(DDPMOptions(checkpoint=str(saved(network)), noise="none"))
    images = batch()
    whole = full_forward(network, to_input(images.images), 10, {"up.1": "up_blocks.1"})["up.1"]
    expected = {
        "gap": whole.mean((2, 3)),
        "max": whole.flatten(2).max(2).values,
        # The map is 8x8: four quarters of 4x4.
        "grid2": whole.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)).flatten(1),
        "flat": whole.flatten(1),
    }[pool]
    (point,) = at(["up.1"], pool=pool)
    torch.testing.assert_close(backbone.extract(images, [point], seed=0)[point], expected, rtol=1e-6, atol=1e-6)


def test_nothing_after_the_deepest_tap_is_computed(build, batch, at):
    backbone, names = build(), []
    handle = register_module_forward_hook(lambda module, *_: names.append(type(module).__name__))
    try:
        backbone.extract(batch(), at(["down.1", "mid"]), seed=0)
    finally:
        handle.remove()
    assert "AttnDownBlock2D" in names
    assert "UNetMidBlock2D" in names
    assert not any("Up" in name for name in names)
    assert "UNet2DModel" not in names, "the pass did not stop"


ALL_TAPS = ["down.0", "down.1.attentions.1", "down.3", "mid", "up.0", "up.1.resnets.2", "up.2", "up.3"]
ALL_POINTS = [
    Point(tap, level, pool) for level in ("t=0", "t=10", "t=300") for tap in ALL_TAPS for pool in ("gap", "max")
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(ALL_POINTS), min_size=1, max_size=6, unique=True))
def test_any_subset_of_points_is_bit_identical(build, batch, points):
    backbone, images = build(), batch(3)
    everything = backbone.extract(images, ALL_POINTS, seed=0)
    some = backbone.extract(images, points, seed=0)
    assert set(some) == set(points)
    for point, features in some.items():
        assert torch.equal(features, everything[point]), str(point)


def test_one_pass_for_all_taps_of_a_level(build, batch, at, unet_inputs):
    build().extract(batch(), at(ALL_TAPS, ["t=0", "t=10"]), seed=0)
    assert [int(t) for _, t in unet_inputs] == [0, 10]


@pytest.mark.parametrize("attention", [True, False])
def test_features_do_not_depend_on_the_batch_size(build, batch, at, unet_inputs, attention):
    backbone, everything = build(attention=attention, widths=(8, 16, 16, 16)), batch(64, size=32)
    points = at([tap.id for tap in backbone.taps((32, 32))], ["t=10"])

    def in_batches_of(size):
        unet_inputs.clear()
        rows = [torch.arange(start, min(start + size, 64)) for start in range(0, 64, size)]
        parts = [
            backbone.extract(Batch(everything.images[row], everything.index[row], everything.source), points, seed=0)
            for row in rows
        ]
        noised = torch.cat([sample for sample, _ in unet_inputs])
        return noised, {point: torch.cat([part[point] for part in parts]) for point in points}

    noised, features = in_batches_of(64)
    for size in (1, 7):
        again, other = in_batches_of(size)
        assert torch.equal(again, noised), f"the noised input differs in batches of {size}"
        for point in points:
            error = (other[point] - features[point]).norm(dim=1) / features[point].norm(dim=1)
            assert float(error.max()) < 1e-5, f"{point} in batches of {size}"


def test_features_do_not_depend_on_the_order_of_images(build, batch, at):
    backbone, images = build(), batch(6)
    order = torch.tensor([4, 1, 5, 0, 3, 2])
    (point,) = at(["up.1"])
    straight = backbone.extract(images, [point], seed=0)[point]
    mixed = backbone.extract(Batch(images.images[order], images.index[order], images.source), [point], seed=0)[point]
    torch.testing.assert_close(mixed, straight[order], rtol=1e-5, atol=1e-6)


def test_extraction_changes_neither_backbone_nor_inputs(build, batch, at):
    backbone, images = build(), batch()
    before, random_state = copy.deepcopy(images), torch.get_rng_state()
    fingerprint = backbone.fingerprint()
    (features,) = backbone.extract(images, at(["up.1"]), seed=0).values()
    assert not features.requires_grad
    assert torch.equal(images.images, before.images)
    assert torch.equal(images.index, before.index)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert backbone.fingerprint() == fingerprint


def test_a_failed_pass_leaves_no_hook(build, batch, at, assert_features):
    """A remaining hook would stop every later pass too early."""
    backbone = DDPM(DDPMOptions(checkpoint="none", widths=(8, 8, 8, 8)))
    odd = batch(2, size=12)  # cannot be halved three times: the decoder's maps do not fit the encoder's
    with pytest.raises(RuntimeError, match=r"Sizes of tensors must match"):
        backbone.extract(odd, at(["down.0", "up.3"]), seed=0)
    with pytest.raises(KeyError):
        backbone.extract(batch(2), [Point("down.0", "t=10", "gap"), Point("up.9", "t=10", "gap")], seed=0)
    fine = batch(2)
    points = at(["down.0", "up.3"])
    after, untouched = backbone.extract(fine, points, seed=0), build().extract(fine, points, seed=0)
    for point in points:
        assert_features(after[point], untouched[point], str(point))
    modules = [module for _, module in vars(backbone)["_unet"].named_modules()]
    assert not any(module._forward_hooks for module in modules)


def test_bf16_is_near_fp32_and_gives_float32(build, batch, at, unet_inputs):
    backbone = DDPM(DDPMOptions(checkpoint="none", widths=(8, 8, 8, 8)))
    backbone.move_to("cpu", "bf16")
    points = at(["down.1", "mid", "up.1", "up.3"])
    half, whole = backbone.extract(batch(), points, seed=0), build().extract(batch(), points, seed=0)
    assert unet_inputs[0][0].dtype == torch.bfloat16
    for point in points:
        assert half[point].dtype == torch.float32
        error = (half[point] - whole[point]).norm() / whole[point].norm()
        assert 0 < float(error) < 0.05, str(point)


def test_a_map_is_pooled_in_fp32(batch, at):
    """The mean of a bf16 map would have 8 bits in bf16; in fp32 it has more."""
    backbone = DDPM(DDPMOptions(checkpoint="none", widths=(8, 8, 8, 8)))
    backbone.move_to("cpu", "bf16")
    (features,) = backbone.extract(batch(), at(["up.3"]), seed=0).values()
    assert not torch.equal(features, features.bfloat16().float())


@pytest.mark.parametrize(
    ("widths", "precision", "expected"),
    [
        ((8, 8, 8, 8), "fp32", 128),
        ((32, 64, 64, 64), "fp32", 32),
        ((32, 64, 64, 64), "bf16", 64),
        ((64,) * 4, "bf16", 32),
    ],
)
def test_the_largest_map_of_a_batch_is_at_most_four_mebibytes(widths, precision, expected):
    backbone = DDPM(DDPMOptions(checkpoint="none", widths=widths))
    backbone.move_to("cpu", precision)
    assert backbone.batch_size == expected
    assert DDPM.batch_size == 128


def test_attributes_for_the_board(build):
    backbone = build()
    network = vars(backbone)["_unet"]
    assert backbone.parameters == sum(weight.numel() for weight in network.parameters())
    assert backbone.prefers_bf16 is False, "narrow layers do not fill a matrix unit"
    assert DDPM(DDPMOptions(checkpoint="none")).prefers_bf16 is True, "32 channels of 32x32 do"
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
