"""A training step compared with a plain loop in fp32, and with the limit of the machine for matrix products.

    OMP_NUM_THREADS=1 pytest benchmarks/test_train.py --benchmark-enable --benchmark-only

``PROBEBENCH_BENCH_WIDTHS`` sets the network, ``PROBEBENCH_BENCH_IMAGES`` the images of a step. On a busy machine add
``--benchmark-timer=time.process_time``. The ratios are below the table.
"""

from __future__ import annotations

import os

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch.nn.functional import mse_loss
from torch.utils.flop_counter import FlopCounterMode

from probebench.api import Split, TrainingJob
from probebench_ddpm.networks.scaling import to_input
from probebench_ddpm.networks.unet import random_unet
from probebench_ddpm.options import DDPMOptions, DDPMRecipe
from probebench_ddpm.training.images import TrainingImages
from probebench_ddpm.training.loop import TrainingLoop

SIDE = 32


@pytest.fixture(scope="module")
def widths(measured):
    text = os.environ.get("PROBEBENCH_BENCH_WIDTHS", "32+64+64+64" if measured else "8+8+8+8")
    return tuple(map(int, text.split("+")))


@pytest.fixture(scope="module")
def images(measured):
    count = int(os.environ.get("PROBEBENCH_BENCH_IMAGES", 64 if measured else 2))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)


class Unread(Split):
    """A split that is not read: the loop gets its images directly."""

    __len__ = image = labels = fingerprint = None


@pytest.fixture
def loop(widths, images, tmp_path):
    """The loop of `probebench train ddpm`."""
    job = TrainingJob(
        options=DDPMOptions(widths=widths),
        recipe=DDPMRecipe(batch_size=len(images)),
        images=Unread(),
        dataset="random",
        flips=True,
        out=tmp_path,
        epochs=1,
        seed=0,
        device="cpu",
        precision="bf16",
    )
    return TrainingLoop(job, TrainingImages(images, {}))


class Plain:
    """A loop like diffusers' example for unconditional generation: fp32, AdamW, `EMAModel`."""

    def __init__(self, config) -> None:
        self.unet = random_unet(config, seed=0).train()
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
        self.ema = EMAModel(self.unet.parameters(), use_ema_warmup=True, inv_gamma=1.0, power=0.75)
        self.scheduler = DDPMScheduler(num_train_timesteps=1000)

    def loss(self, images: torch.Tensor) -> torch.Tensor:
        clean = to_input(images)
        noise = torch.randn(clean.shape)
        t = torch.randint(0, 1000, (len(clean),))
        return mse_loss(self.unet(self.scheduler.add_noise(clean, noise, t), t).sample, noise)

    def step(self, images: torch.Tensor) -> None:
        self.loss(images).backward()
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.unet.parameters())

    def flops(self, images: torch.Tensor) -> int:
        """Returns the FLOPs of matrix products and convolutions in the forward and backward pass."""
        with FlopCounterMode(display=False) as counter:
            self.loss(images).backward()
        self.unet.zero_grad()
        return counter.get_total_flops()


def test_step(in_turns, report_line, loop, images):
    """A whole step, from uint8 images to the average of the weights."""
    plain = Plain(loop.network_config)
    flops = plain.flops(images[:2]) // 2 * len(images)
    side = 2048
    factor = torch.randn(side, side).bfloat16()
    seconds = in_turns(
        ours=lambda: loop.optimiser_step(images),
        plain=lambda: plain.step(images),
        product=lambda: factor @ factor,
    )
    limit = 2 * side**3 / seconds["product"]
    share = flops / seconds["ours"] / limit
    assert 0 < share < 1, "a step cannot be faster than its products"
    rate, ratio = len(images) / seconds["ours"], seconds["plain"] / seconds["ours"]
    report_line(
        f"{rate:.1f} images/s, {ratio:.2f} times the plain loop in fp32; "
        f"{flops / len(images) / 1e9:.2f} GFLOP per image, {100 * share:.0f} % of {limit / 1e12:.2f} TFLOP/s in bf16"
    )
