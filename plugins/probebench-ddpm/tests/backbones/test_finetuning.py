"""The U-Net that probes fine-tune: its features, its gradients, and the frozen network, which must not change."""

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
def test_features_are_those_of_extract(ddpm, point):
    network = ddpm.trainable(point)
    assert network.training
    features = network.eval()(ddpm.inputs(BATCH, point.level, seed=5))
    torch.testing.assert_close(features, ddpm.extract(BATCH, [point], seed=5)[point], rtol=1e-4, atol=1e-5)


def test_only_layers_before_the_tap_are_trained(ddpm):
    network = ddpm.trainable(Point("mid", "t=10", "gap"))
    network(ddpm.inputs(BATCH, "t=10", seed=0)).square().sum().backward()
    trained = {name.split(".")[1] for name, weight in network.named_parameters() if weight.grad is not None}
    assert {"conv_in", "down_blocks", "mid_block", "time_embedding"} <= trained
    assert not {"up_blocks", "conv_out"} & trained


def test_the_frozen_network_does_not_change(ddpm):
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


def test_a_mean_over_noise_samples_cannot_be_finetuned():
    mean = DDPM(DDPMOptions(checkpoint="none", widths=(8, 8, 8, 8), noise="mean", draws=2))
    with pytest.raises(UsageError) as caught:
        mean.trainable(Point("mid", "t=10", "gap"))
    assert str(caught.value).splitlines() == [
        "a network is fine-tuned on one noise sample per image, not on the mean of 2",
        "  in: option noise=mean of ddpm",
        "  try: ddpm:noise=per-sample",
    ]
