"""Peak memory of a training step with attention, against eager attention and against none.

    OMP_NUM_THREADS=1 pytest benchmarks/test_attention_memory.py --benchmark-enable

Each way runs in a process of its own, which takes a step with one image and then one with all: the growth of its peak
is that of the other images. ``PROBEBENCH_BENCH_WIDTHS``, ``PROBEBENCH_BENCH_IMAGES`` and ``PROBEBENCH_BENCH_SIDES`` set
the network, the images of a step and their sides. On a CUDA device the peak is what torch has allocated.
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

way, side, count, widths = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), tuple(map(int, sys.argv[4].split("+")))
device = "cuda" if torch.cuda.is_available() else "cpu"
config = unet_config(widths=widths, attention=way != "none", size=side)
if way == "eager-8":
    config["attention_head_dim"] = 8
unet = random_unet(config, seed=0).to(device)
if way.startswith("eager"):
    for layer in unet.modules():
        if isinstance(layer, Attention):
            layer.set_processor(AttnProcessor())
worker = MixedPrecision(unet, "fp32")
optimizer = torch.optim.AdamW(unet.parameters())


def step(images):
    worker.clear()
    noised, t = torch.zeros(images, 3, side, side, device=device), torch.zeros(images, dtype=torch.long, device=device)
    worker.backward(worker.predict(noised, t).square().mean())
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
def test_memory_of_attention(measured, tell):
    """Growth by an image. Heads have 64 channels, but 8 in ``eager-8``, which is diffusers' default."""
    widths = os.environ.get("PROBEBENCH_BENCH_WIDTHS", "32+64+64+64" if measured else "8+8+8+8")
    count = os.environ.get("PROBEBENCH_BENCH_IMAGES", "5")
    sides = os.environ.get("PROBEBENCH_BENCH_SIDES", "32+64" if measured else "64").split("+")
    found: dict[tuple[str, str], float] = {}
    for side in sides:
        for way in ("none", "sdpa", "eager", "eager-8") if measured else ("sdpa", "eager"):
            words = [sys.executable, "-c", STEP, way, side, count, widths]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            found[way, side] = json.loads(done.stdout) / 2**20
            tell(f"{way} at {side} px: {found[way, side]:.1f} MiB an image")
    assert found["sdpa", sides[-1]] < found["eager", sides[-1]]
