"""Random numbers that depend on their purpose, and not on the batch or the order in which they are generated."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor


def hash63(*parts: str | int) -> int:
    """Returns a 63-bit integer that depends on all parts and on nothing else.

    It is the start of a SHA-256 sum, and so the same on all machines, in all processes and library versions.
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def hash_each(items: Iterable[int], *parts: str | int) -> dict[int, int]:
    """Returns ``hash63(*parts, item)`` for each item."""
    return {item: hash63(*parts, item) for item in items}


def normal(shape: Sequence[int], *, seed: int, source: str, index: Sequence[int], sample: int = 0) -> Tensor:
    """Samples standard normal noise with one generator per image.

    Row ``i`` depends only on ``seed``, ``source``, ``index[i]`` and ``sample``. It is bit-identical for all batch
    sizes, orders, numbers of workers and devices of the network.

    Args:
        shape: Shape of one image's noise, such as ``(3, 32, 32)``.
        seed: The noise seed of the run.
        source: Identity of the split of the images (``Batch.source``).
        index: Positions of the images in that split.
        sample: Number of the noise sample, from 0, for noise policies that average over several samples.

    Returns:
        float32 tensor of shape ``(len(index), *shape)`` on the CPU.
    """
    import torch

    noise = torch.empty((len(index), *shape), dtype=torch.float32)
    generator = torch.Generator()
    for row, position in enumerate(index):
        generator.manual_seed(hash63("noise", seed, source, int(position), sample))
        torch.randn(tuple(shape), generator=generator, out=noise[row])
    return noise
