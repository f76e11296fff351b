"""A dataset: circles, squares and triangles, rendered on access."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import torch

from probebench.api import Dataset, Split, UsageError, hash63

if TYPE_CHECKING:
    from torch import Tensor

    from probebench_example import ShapesOptions

SIZE = 32


def render(label: int, generator: torch.Generator) -> Tensor:
    """Returns a light shape at a random position on a dark background: uint8 ``(3, 32, 32)``."""
    radius, *centre = torch.rand(3, generator=generator).tolist()
    radius = 5 + 6 * radius
    # Distances from the centre, which is far enough from the border for the whole shape.
    x, y = (torch.arange(SIZE) - (radius + share * (SIZE - 1 - 2 * radius)) for share in centre)
    x, y = x[None, :], y[:, None]
    inside = (
        x**2 + y**2 <= radius**2,
        torch.maximum(x.abs(), y.abs()) <= 0.9 * radius,
        (y <= radius / 2) & (x.abs() * math.sqrt(3) <= y + radius),
    )[label]
    background = torch.randint(0, 112, (3, 1, 1), generator=generator)
    shape = torch.randint(144, 256, (3, 1, 1), generator=generator)
    return torch.where(inside, shape, background).to(torch.uint8)


class ShapesSplit(Split):
    """An image depends on the split's name and its index alone, so that workers may read it in any order.

    Args:
        name: Name of the split.
        count: Number of images.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name, self._count = name, count

    def __len__(self) -> int:
        return self._count

    def image(self, index: int) -> Tensor:
        """Renders one image."""
        if not 0 <= index < self._count:
            raise IndexError(f"image {index} of {self._count}")
        generator = torch.Generator().manual_seed(hash63("shapes", self._name, index))
        return render(index % 3, generator)

    def labels(self) -> Tensor:
        """Returns the classes in turn."""
        return torch.arange(self._count) % 3

    def fingerprint(self) -> str:
        """Returns a hash of all images and labels."""
        total = hashlib.sha256(bytes(self.labels().tolist()))
        for index in range(self._count):
            total.update(bytes(self.image(index).flatten().tolist()))
        return total.hexdigest()


class Shapes(Dataset):
    """Three shapes whose colour does not depend on the class."""

    classes = ("circle", "square", "triangle")
    image_size = (SIZE, SIZE)

    def __init__(self, options: ShapesOptions) -> None:
        self._counts = {"train": options.train, "test": options.test}

    def split(self, name: str) -> ShapesSplit:
        """Returns ``train`` or ``test``; probebench takes validation images from train."""
        if name not in self._counts:
            raise UsageError(f"no split {name!r}", where="dataset shapes", hint="train or test")
        return ShapesSplit(name, self._counts[name])
