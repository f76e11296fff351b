"""Each pool computes what it is documented to, and a pool that does not fit is an error."""

from __future__ import annotations

import pytest
import torch

from probebench.api import Tap, UsageError, pool_map, pooled_shape, pooling

MAP = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(2, 3, 4, 4).flip(2)
TOKENS = torch.arange(2 * 5 * 3, dtype=torch.bfloat16).reshape(2, 5, 3).flip(1)


@pytest.mark.parametrize(
    ("feature", "kind", "pool", "expected"),
    [
        (MAP, "spatial", "gap", MAP.mean((2, 3))),
        (MAP, "spatial", "max", MAP.amax((2, 3))),
        (MAP, "spatial", "flat", MAP.flatten(1)),
        (MAP, "spatial", "grid2", MAP.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)),
        (TOKENS, "tokens", "gap", TOKENS.float().mean(1)),
        (TOKENS, "tokens", "max", TOKENS.float().amax(1)),
        (TOKENS, "tokens", "cls", TOKENS.float()[:, 0]),
        (TOKENS, "tokens", "flat", TOKENS.float().flatten(1)),
        (TOKENS[:, 0], "vector", "flat", TOKENS[:, 0].float()),
    ],
)
def test_each_pool_of_each_kind(feature, kind, pool, expected):
    pooled = pool_map(feature, kind, pool)
    torch.testing.assert_close(pooled, expected)
    assert pooled.dtype == torch.float32
    assert pooled.shape[1] == torch.Size(pooled_shape(Tap("tap", kind, tuple(feature.shape[1:])), pool)).numel()


@pytest.mark.parametrize(
    ("kind", "pool"),
    [("spatial", "cls"), ("spatial", "mean"), ("spatial", "grid0"), ("tokens", "grid2"), ("vector", "gap")],
)
def test_a_pool_that_does_not_fit_is_an_error(kind, pool):
    feature = torch.zeros(2, 3, 4, 4) if kind == "spatial" else torch.zeros(2, 5, 3)
    with pytest.raises(UsageError, match=f"'{pool}' is not a pool for {kind} features"):
        pool_map(feature, kind, pool)
    with pytest.raises(UsageError, match=f"'{pool}' is not a pool for {kind} features"):
        pooled_shape(Tap("tap", kind, tuple(feature.shape[1:])), pool)


def test_a_pool_without_a_computation_is_an_error(monkeypatch):
    monkeypatch.setitem(pooling._POOLS, "spatial", ("gap", "max", "median"))
    with pytest.raises(NotImplementedError, match="'median'"):
        pool_map(MAP, "spatial", "median")
