"""The memory of a training: the estimate, too little memory, and the growth of attention's memory with pixels."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from probebench.api import UsageError
from probebench_ddpm.networks.unet import random_unet, unet_config
from probebench_ddpm.training import memory
from probebench_ddpm.training.trainer import train

GIB = 2**30


def config(side=16, *, attention=True, widths=(8, 8, 8, 8)):
    return unet_config(widths=widths, attention=attention, size=side)


def kept(unet, side, count=1):
    """Returns the bytes that a real pass keeps for the backward pass, without weights."""
    own = {weight.untyped_storage().data_ptr() for weight in unet.parameters()}
    found = {}

    def note(tensor):
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        unet(torch.zeros(count, 3, side, side, dtype=unet.dtype), torch.zeros(count, dtype=torch.long))
    return sum(storage.nbytes() for pointer, storage in found.items() if pointer not in own)


@pytest.mark.parametrize(("attention", "precision"), [(True, "fp32"), (False, "fp32"), (True, "bf16")])
def test_the_estimate_is_what_a_real_pass_keeps(attention, precision):
    needed = memory.estimate(config(attention=attention), precision=precision, device="cpu", data=0)
    unet = random_unet(config(attention=attention), seed=0).train()
    weights = sum(weight.numel() for weight in unet.parameters())
    if precision == "bf16":
        unet = torch.nn.Module.to(unet, torch.bfloat16)
    assert needed.image * 4 == pytest.approx(kept(unet, 16, count=4), rel=0.05)
    assert needed.weights == weights * {"fp32": 20, "bf16": 24}[precision]


def test_the_estimate_allocates_no_memory_and_uses_no_random_numbers():
    """The network has 1.4 billion weights, more than the machine may have memory for."""
    state = torch.get_rng_state()
    needed = memory.estimate(config(64, widths=(1024, 1024, 2048, 2048)), precision="fp32", device="cpu", data=5)
    assert needed.weights > 25 * GIB
    assert needed.total(10) == 10 * needed.image + needed.weights + 5
    assert torch.equal(torch.get_rng_state(), state)


def test_attention_grows_with_the_pixels(eager):
    """At twice the side, four times the pixels, the network keeps four times as much; eager attention keeps more."""
    small, large = (memory.estimate(config(side), precision="fp32", device="cpu", data=0).image for side in (32, 64))
    assert large / small == pytest.approx(4, rel=0.05)
    small, large = (kept(eager(random_unet(config(side), seed=0)), side) for side in (32, 64))
    assert large / small > 8


def check(free, monkeypatch, **changed):
    monkeypatch.setattr(memory, "free_memory", lambda _: free)
    words = {"images": 20, "accumulate": 1, "processes": 1, "device": "cpu"}
    return memory.check_memory(memory.MemoryEstimate(image=2 * GIB, weights=GIB, data=GIB), **{**words, **changed})


def test_the_error_for_too_little_memory_has_a_setting_that_fits(monkeypatch):
    with pytest.raises(UsageError) as error:
        check(17 * GIB, monkeypatch)
    assert str(error.value) == (
        "training needs at least 42.00 GiB of memory, 17.00 GiB are free\n"
        "  in: cpu: 2048.0 MiB per image x 20 images + 2.00 GiB for weights, optimiser, average and data\n"
        "  try: --recipe accumulate=3 (the same steps in smaller parts), or a smaller batch_size"
    )
    assert "x 7 images" in check(17 * GIB, monkeypatch, accumulate=3)
    with pytest.raises(UsageError, match=r"84\.00 GiB of memory.*\n.* x 2 processes\n.*accumulate=4 "):
        check(24 * GIB, monkeypatch, processes=2)
    with pytest.raises(UsageError, match="even one image does not fit"):
        check(3 * GIB, monkeypatch)


def test_enough_memory_is_a_line(monkeypatch):
    line = "2048.0 MiB per image x 20 images + 2.00 GiB for weights, optimiser, average and data = 42.00 GiB"
    assert check(50 * GIB, monkeypatch) == line + " (50.00 GiB free)"
    assert check(None, monkeypatch) == line, "the system does not report the free memory"


def test_a_training_that_does_not_fit_starts_nothing(job, monkeypatch):
    printed = []
    monkeypatch.setattr(memory, "free_memory", lambda _: 1000)
    run = job(report=printed.append)
    with pytest.raises(UsageError, match=r"training needs at least .* of memory, 0\.00 GiB are free"):
        train(run)
    assert list(run.out.iterdir()) == []
    monkeypatch.undo()
    train(job(epochs=1, report=printed.append))
    (line,) = printed
    assert " MiB per image x 8 images + " in line


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_memory("cpu") is None
    (tmp_path / "meminfo").write_text("MemTotal:  2000 kB\nMemAvailable:  1000 kB\n")
    assert memory.free_memory("cpu") == 1000 * 1024
    for name, text in (("max", "500000"), ("current", "300000"), ("stat", "anon 200000\ninactive_file 50000")):
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    assert memory.free_memory("cpu") == 250000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory("cpu") == 1000 * 1024
