"""Features as maps."""

from __future__ import annotations

import torch

from probebench.api import Features
from probebench_probes.preprocessing.maps import MapTransform


def test_channels_are_standardised_and_positions_keep_their_differences():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 3, 3, generator=generator) + 0.7 * torch.randn(150, 4, 3, 3, generator=generator)
    maps[:, -1] = 3 * maps[:, -1] + 2
    train = Features(maps.flatten(1), torch.zeros(150, dtype=torch.int64), 1, (4, 3, 3))
    found = MapTransform.of(train, "standardized")(train.vectors, "cpu")
    assert torch.allclose(found.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert torch.allclose(found.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-4)
    assert found[:, 0].mean(0).std() > 0.05
