"""Raw pixels as a backbone: the baseline of every leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.functional import adaptive_avg_pool2d

from probebench.api import Backbone, Batch, Point, Tap, UsageError, pool_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench_datasets.options import PixelsOptions


class Pixels(Backbone):
    """The image, scaled to -1..1 and flattened; with ``grid=N`` it is averaged over N x N cells first."""

    input_range = (-1.0, 1.0)
    batch_size = 1024

    def __init__(self, options: PixelsOptions) -> None:
        self._grid = options.grid

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """Returns the only tap, ``image``.

        Raises:
            UsageError: The image has fewer pixels than the grid.
        """
        height, width = image_size if self._grid == "full" else (self._grid, self._grid)
        if height > image_size[0] or width > image_size[1]:
            raise UsageError(
                f"images of {image_size[0]}x{image_size[1]} cannot be averaged over {height}x{width} cells",
                where="option grid of pixels",
                hint=f"pixels:grid={min(image_size)}",
            )
        return (Tap("image", "vector", (3 * height * width,)),)

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to -1..1."""
        return images.float() / 127.5 - 1

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """Returns the flattened image for the point ``image@clean@flat``."""
        del seed  # no noise is added
        image = self.prepare(batch.images)
        if self._grid != "full":
            image = adaptive_avg_pool2d(image, self._grid)
        return {point: pool_map(image.flatten(1), "vector", point.pool) for point in points}

    def fingerprint(self) -> str:
        """Returns zeros, because there are no weights."""
        return "0" * 64
