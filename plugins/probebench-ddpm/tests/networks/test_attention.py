"""Attention that keeps the matrix of all pairs of positions is refused, in checkpoints and in training."""

from __future__ import annotations

import pytest
from diffusers.models.attention_processor import Attention, AttnProcessor

from probebench.api import UsageError
from probebench_ddpm.backbones.ddpm import DDPM
from probebench_ddpm.networks.attention import check_attention
from probebench_ddpm.networks.unet import random_unet
from probebench_ddpm.options import DDPMOptions
from probebench_ddpm.training import loop
from probebench_ddpm.training.trainer import train


def test_eager_attention_is_refused(saved, unet, eager, monkeypatch):
    network = unet()
    check_attention(network, where="here")
    with pytest.raises(UsageError) as error:
        check_attention(eager(network), where="here")
    assert str(error.value) == (
        "attention is computed by AttnProcessor, not by scaled_dot_product_attention\n  in: here\n"
        "  try: install torch 2 or newer, and call neither set_attn_processor nor enable_attention_slicing"
    )
    folder = saved(unet())
    usual = Attention.__init__

    def init(self, *words, **named):
        usual(self, *words, **named)
        self.set_processor(AttnProcessor())

    monkeypatch.setattr(Attention, "__init__", init)
    with pytest.raises(UsageError, match="attention is computed by AttnProcessor"):
        DDPM(DDPMOptions(checkpoint=str(folder)))


def test_training_refuses_eager_attention(job, eager, monkeypatch):
    monkeypatch.setattr(loop, "random_unet", lambda *words, **named: eager(random_unet(*words, **named)))
    with pytest.raises(UsageError, match=r"not by scaled_dot_product_attention\n  in: training of ddpm"):
        train(job())
