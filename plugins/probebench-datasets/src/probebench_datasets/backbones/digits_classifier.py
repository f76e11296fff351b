"""A small network trained on the labels of `scattered-digits`: an upper bound, and the FID extractor of such digits."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from probebench.api import Backbone, Batch, NoOptions, Point, Precision, Tap, UsageError, pool_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

WEIGHTS_FILE = "digits_classifier.safetensors"
"""fp16; written by `probebench_datasets.backbones.digits_classifier_training`."""

WIDTHS = (16, 32, 64)
_SMALLEST = 2 ** (len(WIDTHS) - 1)


class Classifier(nn.Module):
    """Three blocks of two convolutions each with pooling between them, the mean over positions, and ten scores."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_block(*channels) for channels in zip((3, *WIDTHS), WIDTHS, strict=False))
        self.head = nn.Linear(WIDTHS[-1], 10)

    def maps(self, images: Tensor, deepest: int = len(WIDTHS) - 1) -> list[Tensor]:
        """Returns the output of each block.

        Args:
            images: ``(B, 3, H, W)``, -1 to 1.
            deepest: The last block that is run.

        Returns:
            ``(B, width, h, w)``, each half as high and wide as the one before, rounded down.
        """
        outputs = []
        for number, block in enumerate(self.blocks[: deepest + 1]):
            images = block(nn.functional.max_pool2d(images, 2) if number else images)
            outputs.append(images)
        return outputs

    def forward(self, images: Tensor) -> Tensor:
        """Returns scores ``(B, 10)``."""
        scores: Tensor = self.head(self.maps(images)[-1].mean((2, 3)))
        return scores


def _block(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
        nn.Conv2d(outside, outside, 3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


def to_input(images: Tensor) -> Tensor:
    """Converts uint8 to float32, -1 to 1."""
    return images.float() / 127.5 - 1


@lru_cache
def _costs(image_size: tuple[int, int]) -> tuple[float, ...]:
    """Returns the share of the network's FLOPs up to the end of each block."""
    with torch.device("meta"), torch.no_grad():
        net, image = Classifier().eval(), torch.empty(1, 3, *image_size)
        with FlopCounterMode(display=False) as whole:
            net(image)
        costs = []
        for deepest in range(len(WIDTHS)):
            with FlopCounterMode(display=False) as part:
                net.maps(image, deepest)
            costs.append(part.get_total_flops() / whole.get_total_flops())
    return tuple(costs)


class DigitsClassifier(Backbone):
    """The classifier with its bundled weights.

    It was trained on the labels of train, so it is not to be compared with other backbones.
    """

    input_range = (-1.0, 1.0)
    image_size = (16, 16)
    batch_size = 256

    def __init__(self, options: NoOptions) -> None:
        del options
        packed = files(__package__).joinpath(WEIGHTS_FILE).read_bytes()
        self._fingerprint = hashlib.sha256(packed).hexdigest()
        with torch.device("meta"):  # no random weights are sampled, so the random state does not change
            self._net = Classifier()
        weights = {
            name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in load(packed).items()
        }
        self._net.load_state_dict(weights, assign=True)
        self._net.eval().requires_grad_(requires_grad=False)
        self._device, self._dtype = torch.device("cpu"), torch.float32
        self.parameters = sum(weight.numel() for weight in self._net.parameters())

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        """Returns ``block.0`` to ``block.2``.

        Raises:
            UsageError: The images are so small that pooling leaves no position.
        """
        if min(image_size) < _SMALLEST:
            raise UsageError(
                f"images of {image_size[0]}x{image_size[1]} are too small for digits-classifier",
                hint=f"use images of {_SMALLEST}x{_SMALLEST} or more; the network was trained on 16x16",
            )
        height, width = image_size
        return tuple(
            Tap(f"block.{number}", "spatial", (channels, height >> number, width >> number), cost=cost)
            for number, (channels, cost) in enumerate(zip(WIDTHS, _costs(image_size), strict=True))
        )

    def move_to(self, device: str, precision: Precision) -> None:
        """Moves the network to a device and a precision."""
        self._device, self._dtype = torch.device(device), torch.bfloat16 if precision == "bf16" else torch.float32
        self._net.to(self._device, self._dtype)

    def prepare(self, images: Tensor) -> Tensor:
        """Scales 0..255 to -1..1."""
        return to_input(images)

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:
        """Runs the network once, up to the deepest point; nothing is random."""
        del seed
        with torch.inference_mode():
            deepest = max(int(point.tap.removeprefix("block.")) for point in points)
            maps = self._net.maps(self.prepare(batch.images).to(self._device, self._dtype), deepest)
            outputs = {f"block.{number}": output.float() for number, output in enumerate(maps)}
            return {point: pool_map(outputs[point.tap], "spatial", point.pool) for point in points}

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the file of the weights."""
        return self._fingerprint
