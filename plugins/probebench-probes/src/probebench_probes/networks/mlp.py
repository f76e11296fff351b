"""`mlp`: fully connected layers on the flattened map."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from probebench_probes.networks.probe import NetworkProbe
from probebench_probes.options import MlpOptions

if TYPE_CHECKING:
    from collections.abc import Sequence


class MlpProbe(NetworkProbe[MlpOptions]):
    """Fully connected layers on the flattened map."""

    name = "mlp"

    def network(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Returns an `Mlp`."""
        return Mlp(shape, self._options.widths, classes)


class Mlp(nn.Sequential):
    """Fully connected layers with ReLU between them.

    Source: diffssl, ``ssl_diff/head.py``.

    Args:
        shape: Shape of one feature, ``(C, H, W)``.
        widths: Widths of the hidden layers.
        classes: Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], widths: Sequence[int], classes: int) -> None:
        channels, height, width = shape
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise((channels * height * width, *widths)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers, nn.Linear(widths[-1], classes))
