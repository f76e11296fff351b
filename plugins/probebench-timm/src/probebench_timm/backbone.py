"""The `timm` backbone: features of any timm model at its stages or blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api import Backbone, Batch, Point, Precision, Tap, pool_map
from probebench_timm import weights
from probebench_timm.network import build, check_name, fingerprint
from probebench_timm.precision import to_bf16
from probebench_timm.preprocessing import preprocessing
from probebench_timm.taps import all_sites, describe, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench_timm.options import TimmOptions


class Timm(Backbone):
    """A timm model without its classifier, with a tap wherever timm itself returns features."""

    # On a CPU with AMX it was 1.2 to 3 times as fast for ResNet, ViT, ConvNeXt, MobileNetV3 and EfficientNet-Lite,
    # depthwise convolutions included.
    prefers_bf16 = True

    def __init__(self, options: TimmOptions) -> None:
        check_name(options.model)
        self._name = options.model
        self._net = build(options.model, seed=options.init_seed)
        if options.weights != "none":
            weights.load(self._net, options.weights)
        self._preprocessing = preprocessing(self._net, options.size)
        self._sites = {site.id: site for site in all_sites(self._net)}
        self._fingerprint = fingerprint(self._net, self._name, self._preprocessing.document())
        self._described: dict[tuple[int, int], tuple[Tap, ...]] = {}
        self._device, self._dtype, self._layout = torch.device("cpu"), torch.float32, torch.contiguous_format
        self.input_range = self._preprocessing.input_range
        self.image_size = self._preprocessing.own_size
        self.parameters = sum(weight.numel() for weight in self._net.parameters())

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """Returns the stages or blocks of the model, and the input of its classifier.

        Raises:
            UsageError: The model cannot take images of this size.
        """
        size = self._preprocessing.input_size(image_size)
        if size not in self._described:
            self._described[size] = describe(self._name, self._net, size)
        return self._described[size]

    def move_to(self, device: str, precision: Precision) -> None:
        """Moves the model to a device, and casts it to bf16 where requested.

        Raises:
            UsageError: Its features in bf16 differ from those in fp32, see `probebench_timm.precision`.
        """
        self._device = torch.device(device)
        self._net.to(self._device)
        if precision == "bf16":
            sizes = list(self._described) or [self.image_size]
            to_bf16(self._net, [self.prepare(_noise(size).to(self._device)) for size in sizes])
            self._dtype, self._layout = torch.bfloat16, torch.channels_last
        elif self._device.type == "cpu":
            # Networks of depthwise convolutions are a third faster with it, ResNets slightly, ViTs and ConvNeXts not.
            self._net.to(memory_format=torch.channels_last)
            self._layout = torch.channels_last

    def prepare(self, images: Tensor) -> Tensor:
        """Resizes images as the options require, and normalises by the mean and deviation that timm states."""
        return self._preprocessing(images)

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:  # noqa: ARG002
        """Returns features of one pass, as deep as the points need it. The seed is not used: nothing is random."""
        sites = [self._sites[tap] for tap in dict.fromkeys(point.tap for point in points)]
        with torch.inference_mode():
            inputs = self.prepare(batch.images.to(self._device)).to(self._dtype, memory_format=self._layout)
            features = read(self._net, inputs, sites)
            return {point: pool_map(features[point.tap], self._sites[point.tap].kind, point.pool) for point in points}

    def fingerprint(self) -> str:
        """Returns a SHA-256 over name, preprocessing and fp32 weights."""
        return self._fingerprint


def _noise(size: tuple[int, int]) -> Tensor:
    """Returns an image of noise, uint8 ``(1, 3, H, W)``, always the same."""
    return torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
