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


class Cnn(nn.Sequential):
    """Convolutions of 3 x 3 with ReLU, the mean over positions, and a fully connected layer.

    After each convolution all channels of an image are normalised together: unlike batch normalisation that makes an
    image's score depend on nothing but the image, in training too.

    Args:
        shape: Of one feature, ``(C, H, W)``.
        widths: Channels after each convolution.
        classes: Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], widths: Sequence[int], classes: int) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise((shape[0], *widths)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(1, after), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


class CnnProbe(NetworkProbe[CnnOptions]):
    """Convolutions over the map."""

    name = "cnn"

    def network(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """See `Cnn`."""
        return Cnn(shape, self._options.widths, classes)

    def _fitted(self, train: Features, rate: float, *, seed: int) -> FittedNetwork:
        check_grid(train.shape, self.name)
        return super()._fitted(train, rate, seed=seed)


def check_grid(shape: tuple[int, ...], probe: str) -> None:
    """Raises an error for tokens, whose order is no neighbourhood.

    Raises:
        UsageError: The features are tokens.
    """
    if len(shape) == 2:
        raise UsageError(
            f"{probe} reads maps, and these are {shape[0]} tokens of {shape[1]} numbers",
            where="--probe",
            hint="--pool gap, or the probe attention",
        )
