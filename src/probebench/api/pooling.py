"""Pooling: reduces a feature map to one vector per image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api.types import Tap, TapKind

_GRID = re.compile(r"grid([1-9]\d*)")
_POOLS: dict[str, tuple[str, ...]] = {
    "spatial": ("gap", "gridN", "max", "flat"),
    "tokens": ("gap", "max", "cls", "flat"),
    "vector": ("flat",),
}


def check_pool(pool: str, kind: TapKind) -> None:
    """Raises an error unless features of this kind can be pooled this way.

    Raises:
        UsageError: The pool does not fit the kind.
    """
    known = _POOLS[kind]
    if pool in known and pool != "gridN":
        return
    if "gridN" in known and _GRID.fullmatch(pool):
        return
    raise UsageError(
        f"{pool!r} is not a pool for {kind} features",
        where="--pool",
        hint="one of " + ", ".join(known),
    )


def pool_for(tap: Tap, pool: str) -> str:
    """Returns the pool for a tap when the user requests `pool`.

    A vector is never pooled. A map that is smaller than the requested grid gets a grid of its own size, because a
    larger grid would only repeat the same numbers.

    Raises:
        UsageError: The pool does not fit the kind of the tap.
    """
    if tap.kind == "vector":
        return "flat"
    check_pool(pool, tap.kind)
    grid = _GRID.fullmatch(pool)
    return f"grid{min(int(grid[1]), max(tap.shape[1:]))}" if grid else pool


def pooled_shape(tap: Tap, pool: str) -> tuple[int, ...]:
    """Returns the shape of a tap's pooled features before they are flattened to a vector.

    Args:
        tap: The tap.
        pool: A pool that fits the kind of the tap.

    Returns:
        ``(C, N, N)`` for ``gridN``, the tap's own shape for ``flat``, otherwise ``(C,)``.

    Raises:
        UsageError: `pool` does not fit the tap's kind.
    """
    check_pool(pool, tap.kind)
    if pool == "flat":
        return tap.shape
    channels = tap.shape[0] if tap.kind == "spatial" else tap.shape[-1]
    grid = _GRID.fullmatch(pool)
    return (channels, int(grid[1]), int(grid[1])) if grid else (channels,)


def pool_map(feature: Tensor, kind: TapKind, pool: str) -> Tensor:
    """Pools a feature map on the device it is on, in fp32.

    Args:
        feature: ``(B, C, H, W)``, ``(B, N, C)`` or ``(B, D)``, by `kind`.
        kind: Meaning of the dimensions.
        pool: ``gap`` (mean over positions or tokens), ``gridN`` (average pool to N x N, flattened), ``max``, ``cls``
            (the first token) or ``flat``.

    Returns:
        float32 ``(B, D)``.

    Raises:
        UsageError: `pool` does not fit `kind`.
    """
    check_pool(pool, kind)
    feature = feature.float()
    if pool == "flat":
        return feature.flatten(1)
    if pool == "cls":
        return feature[:, 0]
    if grid := _GRID.fullmatch(pool):
        from torch.nn.functional import adaptive_avg_pool2d

        return adaptive_avg_pool2d(feature, int(grid[1])).flatten(1)
    positions = (2, 3) if kind == "spatial" else (1,)
    if pool == "gap":
        return feature.mean(positions)
    if pool == "max":
        return feature.amax(positions)
    raise NotImplementedError(f"pool {pool!r} is allowed for {kind} features, but pool_map does not compute it")
