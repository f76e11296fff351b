"""bf16 training: only the passes are bf16, and small steps are not lost."""

from __future__ import annotations

import torch

from probebench_ddpm.training import objective
from probebench_ddpm.training.trainer import train


def test_only_the_passes_are_bf16(job, passes, noising, monkeypatch, weights, losses):
    """Noised images, noise, target, loss, gradients and kept weights are fp32, because bf16 loses small values."""
    compared, stepped = [], []
    loss_of, step_of = objective.mse_loss, torch.optim.AdamW.step

    def loss(predicted, target):
        compared.append((predicted.dtype, target, loss_of(predicted, target).dtype))
        return loss_of(predicted, target)

    def step(self, *arguments, **named):
        stepped.extend((weight.dtype, weight.grad.dtype) for weight in self.param_groups[0]["params"])
        return step_of(self, *arguments, **named)

    monkeypatch.setattr(objective, "mse_loss", loss)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    whole = train(job("fp32", epochs=1))
    rounded = train(job("bf16", epochs=1, precision="bf16"))
    assert {images.dtype for images in passes[:3]} == {torch.float32}
    assert {images.dtype for images in passes[3:]} == {torch.bfloat16}, "the pass itself"
    assert losses(whole.parent) != losses(rounded.parent)
    for full, half in zip(noising[:3], noising[3:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(full, half, strict=True))
    for (_, noise, _), (predicted, target, dtype) in zip(noising, compared, strict=True):
        assert predicted == dtype == torch.float32
        assert torch.equal(target, noise)
    assert set(stepped) == {(torch.float32, torch.float32)}
    for kind in ("unet", "unet_raw"):
        kept = weights(rounded, kind).values()
        assert {tensor.dtype for tensor in kept} == {torch.float32}
        assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in kept)


def test_no_small_step_is_lost(job, weights):
    """A step of a thousandth of a weight is below the resolution of bf16: weights kept in bf16 would not change."""
    recipe = {"lr": 1e-6, "warmup": 0, "batch_size": 24, "save_every": 4}
    first, last = (train(job(epochs=epochs, recipe=recipe, precision="bf16")) for epochs in (1, 4))
    changed = [
        (before != after).float().mean()
        for before, after in zip(weights(first, "unet_raw").values(), weights(last, "unet_raw").values(), strict=True)
    ]
    assert sum(changed) / len(changed) > 0.9
