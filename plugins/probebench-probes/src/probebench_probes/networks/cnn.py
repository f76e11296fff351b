"""`cnn`: convolutions over the map."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from probebench.api import UsageError
from probebench_probes.networks.probe import FittedNetwork, NetworkProbe
from probebench_probes.options import CnnOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.api import Features


class CnnProbe(NetworkProbe[CnnOptions]):
    """Convolutions over the map."""

    name = "cnn"

    def network(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Returns a `Cnn`."""
        return Cnn(shape, self._options.widths, classes)

    def _train(self, train: Features, rate: float, *, seed: int) -> FittedNetwork:
        check_is_map(train.shape)
        return super()._train(train, rate, seed=seed)


class Cnn(nn.Sequential):
    """Convolutions of 3 x 3 with ReLU, the mean over positions, and a fully connected layer.

    After each convolution all channels of an image are normalised together. Unlike with batch normalisation, the score
    of an image then depends on nothing but the image, in training too.

    Args:
        shape: Shape of one feature, ``(C, H, W)``.
        widths: Channels after each convolution.
        classes: Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], widths: Sequence[int], classes: int) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise((shape[0], *widths)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(1, after), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def check_is_map(shape: tuple[int, ...]) -> None:
    """Raises an error for tokens, because adjacent tokens are not adjacent positions.

    Raises:
        UsageError: The features are tokens.
    """
    if len(shape) == 2:
        raise UsageError(
            f"cnn needs feature maps, but the features are {shape[0]} tokens of {shape[1]} numbers",
            where="probe cnn",
            hint="--pool gap, or --probe attention",
        )
