"""Random numbers that depend on what they are for, never on when or in which batch they are drawn."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def hash63(*parts: str | int) -> int:
    """A 63-bit integer that depends on all parts and on nothing else.

    Stable across machines, processes and library versions: it is the head of a SHA-256 sum.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def normal(shape: Sequence[int], *, seed: int, source: str, index: Sequence[int], draw: int = 0) -> Tensor:
    """Standard normal noise with one generator per image.

    Row ``i`` depends on ``seed``, ``source``, ``index[i]`` and ``draw`` alone, so it is the same bit for bit
    whatever the batch size, the order, the number of workers or the device the network runs on.

    Args:
        shape: Shape of one image's noise, such as ``(3, 32, 32)``.
        seed: The noise seed of the run.
        source: Identity of the split the images come from (``Batch.source``).
        index: Positions of the images in that split.
        draw: Number of the draw, for policies that average over several.

    Returns:
        float32 tensor of shape ``(len(index), *shape)`` on the CPU.
    """
    import torch

    noise = torch.empty((len(index), *shape), dtype=torch.float32)
    generator = torch.Generator()
    for row, position in enumerate(index):
        generator.manual_seed(hash63("noise", seed, source, int(position), draw))
        torch.randn(tuple(shape), generator=generator, out=noise[row])
    return noise
