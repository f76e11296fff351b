"""The training loop of the networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probebench_probes.networks.training import train_network
from probebench_probes.options import MlpOptions


@pytest.mark.parametrize("scale", [1.0, 3e38])
def test_an_infinite_loss_is_divergence_though_weights_are_finite(scale):
    network = nn.Linear(1, 2, bias=False)
    network.weight.data = torch.tensor([[scale], [-scale]])
    options = MlpOptions(optimizer="sgd", epochs=1)
    finite = train_network(
        network,
        torch.ones(4, dtype=torch.int64),
        lambda rows, epoch: torch.ones(len(rows), 1),
        options,
        learning_rate=1e-3,
        seed=0,
        device="cpu",
        precision="fp32",
    )
    assert network.weight.isfinite().all()
    assert finite == (scale == 1.0)
