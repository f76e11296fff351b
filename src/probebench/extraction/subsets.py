"""Parts of a split that are the same on every machine: the carved validation part and the images of ``--limit``.

Which images are taken depends on labels, positions and the seed through SHA-256 alone, so a new version of a
library, whose random numbers may change, cannot move an image from one part to the other.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

from probebench.util.errors import UsageError
from probebench.util.seeding import hash_each

if TYPE_CHECKING:
    from torch import Tensor


def index_digest(positions: Tensor) -> str:
    """Returns the SHA-256 of the positions of images in their split, which keys and records hold.

    Args:
        positions: int64 ``(N,)``; their order counts.
    """
    return hashlib.sha256(positions.numpy().astype("<i8").tobytes()).hexdigest()


def carve(labels: Tensor, fraction: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Divides the train split into a part to fit on and a part to select on, class by class.

    From a class with ``n`` images the validation part gets ``round(fraction * n)``, but at least one where the class
    has two or more, and never all of them.

    Args:
        labels: int64 ``(N,)`` of the train split.
        fraction: Share of the validation part, between 0 and 1.
        seed: Another seed gives another division.

    Returns:
        Positions of the train part and of the validation part: int64, ascending; every image is in one of the two.

    Raises:
        UsageError: ``fraction`` is not between 0 and 1, or no class has two images.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"validation share {fraction} is not between 0 and 1", hint="a share such as 0.1")
    chosen: list[int] = []
    hashes = hash_each(range(len(labels)), "val", seed)
    for members in _classes(labels).values():
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen += sorted(members, key=hashes.__getitem__)[:count]
    if not chosen:
        raise UsageError(
            f"no validation part can be carved from {len(labels)} images: no class has two",
            hint="--limit 200, or remove --limit",
        )
    held_out = set(chosen)
    return _index([i for i in range(len(labels)) if i not in held_out]), _index(chosen)


def limit(labels: Tensor, count: int) -> Tensor:
    """Chooses some images of a split, with the classes in the same proportions as far as whole images allow.

    Each class gets one image first, the largest class before the others. The rest is shared by the method of Webster
    and Sainte-Laguë, which is proportional and adds images one by one: a larger ``count`` holds all images of a
    smaller one.

    Args:
        labels: int64 ``(N,)``.
        count: Number of images.

    Returns:
        Their positions: int64 ``(min(count, N),)``, ascending.

    Raises:
        UsageError: ``count`` is below 1, or there are no images.
    """
    if count < 1:
        raise UsageError(f"--limit {count} leaves no image to measure", hint="--limit 1 or more images per split")
    queue: list[tuple[float, int, int]] = []
    classes, hashes = _classes(labels), hash_each(range(len(labels)), "limit")
    for members in classes.values():
        for rank, position in enumerate(sorted(members, key=hashes.__getitem__)):
            # Webster's divisors are 1, 3, 5 ...; the first image comes before all others, of the largest class first.
            priority = (2 * rank + 1) / len(members) if rank else -len(members)
            queue.append((priority, hashes[position], position))
    return _index([position for _, _, position in sorted(queue)[:count]])


def _classes(labels: Tensor) -> dict[int, list[int]]:
    """Returns the positions of the images of each class."""
    if labels.ndim != 1 or not len(labels):
        raise UsageError(
            f"labels of shape {tuple(labels.shape)} cannot be divided", hint="a dataset whose splits have images"
        )
    classes: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels.tolist()):
        classes[label].append(position)
    return classes


def _index(positions: list[int]) -> Tensor:
    import torch

    return torch.tensor(sorted(positions), dtype=torch.int64)
