"""Peak memory of a training step with attention, compared with eager attention and with no attention.

    OMP_NUM_THREADS=1 pytest benchmarks/test_attention_memory.py --benchmark-enable

Each kind of attention runs in a separate process, which makes a step with one image and then one with all images: the
growth of its peak is the memory of the other images. ``PROBEBENCH_BENCH_WIDTHS``, ``PROBEBENCH_BENCH_IMAGES`` and
``PROBEBENCH_BENCH_SIDES`` set the network, the number of images in a step and their sides. On a CUDA device the peak is
that of torch's allocator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

STEP = """
import json, sys
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from probebench_ddpm.networks.unet import random_unet, unet_config
from probebench_ddpm.training.mixed_precision import MixedPrecision

attention, side, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
widths = tuple(map(int, sys.argv[4].split("+")))
device = "cuda" if torch.cuda.is_available() else "cpu"
config = unet_config(widths=widths, attention=attention != "none", size=side)
if attention == "eager-8":
    config["attention_head_dim"] = 8
unet = random_unet(config, seed=0).to(device)
if attention.startswith("eager"):
    for layer in unet.modules():
        if isinstance(layer, Attention):
            layer.set_processor(AttnProcessor())
network = MixedPrecision(unet, "fp32")
optimizer = torch.optim.AdamW(unet.parameters())


def step(images):
    network.zero_grad()
    noised, t = torch.zeros(images, 3, side, side, device=device), torch.zeros(images, dtype=torch.long, device=device)
    network.backward(network.predict(noised, t).square().mean())
    optimizer.step()


def peak():
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


step(1)
before = peak()
step(count)
print(json.dumps((peak() - before) / (count - 1)))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc to read peaks from")  # noqa: PTH110
def test_memory_of_attention(measured, report_line):
    """Growth of the peak per image. Heads have 64 channels; in ``eager-8`` 8, which is diffusers' default."""
    widths = os.environ.get("PROBEBENCH_BENCH_WIDTHS", "32+64+64+64" if measured else "8+8+8+8")
    count = os.environ.get("PROBEBENCH_BENCH_IMAGES", "5")
    sides = os.environ.get("PROBEBENCH_BENCH_SIDES", "32+64" if measured else "64").split("+")
    growth: dict[tuple[str, str], float] = {}
    for side in sides:
        for attention in ("none", "sdpa", "eager", "eager-8") if measured else ("sdpa", "eager"):
            words = [sys.executable, "-c", STEP, attention, side, count, widths]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            growth[attention, side] = json.loads(done.stdout) / 2**20
            report_line(f"{attention} at {side} px: {growth[attention, side]:.1f} MiB per image")
    assert growth["sdpa", sides[-1]] < growth["eager", sides[-1]]
