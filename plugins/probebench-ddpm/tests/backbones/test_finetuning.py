"""The U-Net as probes train it: the features of the tap, gradients up to it, and a frozen network that stays."""

from __future__ import annotations

import pytest
import torch

from probebench.api import Batch, Point, UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.options import DDPMOptions

IMAGES = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BATCH = Batch(IMAGES, torch.tensor([4, 0, 9]), "tests/train")


@pytest.fixture(scope="module")
def ddpm() -> DDPM:
    return DDPM(DDPMOptions(checkpoint="none", widths=(8, 8, 8, 8)))


@pytest.mark.parametrize("point", [Point("mid", "t=10", "gap"), Point("up.0", "t=300", "grid2")])
def test_it_gives_the_features_that_are_extracted(ddpm, point):
    network = ddpm.trainable(point)
    assert network.training
    got = network.eval()(ddpm.inputs(BATCH, point.level, seed=5))
    assert torch.allclose(got, ddpm.extract(BATCH, [point], seed=5)[point], atol=1e-5)


def test_what_lies_before_the_tap_is_trained_and_what_lies_behind_is_not(ddpm):
    network = ddpm.trainable(Point("mid", "t=10", "gap"))
    network(ddpm.inputs(BATCH, "t=10", seed=0)).square().sum().backward()
    moved = {name.split(".")[1] for name, weight in network.named_parameters() if weight.grad is not None}
    assert {"conv_in", "down_blocks", "mid_block", "time_embedding"} <= moved
    assert not {"up_blocks", "conv_out"} & moved


def test_the_frozen_network_stays(ddpm):
    point = Point("mid", "t=10", "gap")
    before, fingerprint = ddpm.extract(BATCH, [point], seed=0)[point], ddpm.fingerprint()
    network = ddpm.trainable(point)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    network(ddpm.inputs(BATCH, "t=10", seed=0)).sum().backward()
    optimizer.step()
    assert not torch.allclose(network.eval()(ddpm.inputs(BATCH, "t=10", seed=0)), before)
    assert torch.equal(ddpm.extract(BATCH, [point], seed=0)[point], before)
    assert ddpm.fingerprint() == fingerprint
    assert not any(weight.requires_grad for weight in ddpm._unet.parameters())


def test_a_mean_over_draws_is_nothing_to_train_on():
    mean = DDPM(DDPMOptions(checkpoint="none", widths=(8, 8, 8, 8), noise="mean", draws=2))
    with pytest.raises(UsageError) as caught:
        mean.trainable(Point("mid", "t=10", "gap"))
    assert str(caught.value).splitlines() == [
        "a network is trained on one draw of noise at a time, and these features are the mean of 2",
        "  in: option noise=mean of ddpm",
        "  try: noise=per-sample",
    ]
