"""The loss by noise level: measured in bands of t, at every checkpoint.

The mean loss of an epoch is one number over all noise levels, over weights that change, on images that are trained on,
and with new noise each time. It shows neither where a network still learns nor where it starts to memorise its images.
Here the averaged weights are measured, on the same images with the same noise at every checkpoint, and also on images
that are not trained on if there are any.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch.nn import Module

from probebench.api import normal
from probebench_ddpm.networks.scaling import to_input
from probebench_ddpm.options import STEPS
from probebench_ddpm.training.objective import Objective, image_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import UNet2DModel
    from torch import Tensor

    from probebench.api import Precision

BOUNDS = (0, 100, 250, 500, STEPS)
"""Bounds of the bands. In the linear schedule sigma is 0.01 to 0.34 in the first band, where features are read, 0.34 to
0.95 in the second and 0.95 to 3.4 in the third. Of ten bands of equal width, half would be above that, where too little
of an image is left to compare networks, and one band would contain nearly all levels that are probed."""

BANDS = tuple(pairwise(BOUNDS))

MAX_IMAGES = 256
"""Maximum number of images of a set: 1,024 passes, as costly as training on 340 images. Images and noise are the same
every time, so differences between epochs are due to the network."""


class LossesByLevel:
    """Measures networks on sets of images.

    Args:
        sets: uint8 ``(N, 3, H, W)`` by name.
        objective: The training objective.
        device: Device of the passes.
        precision: Precision of the passes, as in training.
        batch_size: Images per pass.
        scale: Scale of the network's input.
    """

    def __init__(
        self,
        sets: Mapping[str, Tensor],
        objective: Objective,
        *,
        device: str,
        precision: Precision,
        batch_size: int,
        scale: float = 1.0,
    ) -> None:
        self._sets, self._objective, self._batch_size = sets, objective, batch_size
        self._scale = scale
        self._device, self._dtype = device, torch.bfloat16 if precision == "bf16" else torch.float32

    def measure(self, network: UNet2DModel) -> list[dict[str, float | str]]:
        """Returns the mean squared error of the predictions, without min-SNR weights, for each set.

        Args:
            network: The network. It is not changed.

        Returns:
            For each set its name as ``split``, its size as ``images``, and a loss for each band, such as ``t0-99``.
        """
        copied = Module.to(copy.deepcopy(network), device=self._device, dtype=self._dtype).eval()
        rows: list[dict[str, float | str]] = []
        for name, images in self._sets.items():
            losses = {
                f"t{first}-{end - 1}": round(self._loss(copied, images, f"bands/{name}", number), 6)
                for number, (first, end) in enumerate(BANDS)
            }
            rows.append({"split": name, "images": len(images), **losses})
        return rows

    @torch.inference_mode()
    def _loss(self, network: UNet2DModel, images: Tensor, source: str, band: int) -> float:
        """Returns the loss of a band. Step and noise of an image do not depend on its batch."""
        first, end = BANDS[band]
        positions = torch.arange(len(images))
        steps = first + (2 * positions + 1) * (end - first) // (2 * len(images))  # evenly spaced over the band
        total = 0.0
        for start in range(0, len(images), self._batch_size):
            clean = to_input(images[start : start + self._batch_size], self._scale)
            index, t = positions[start : start + len(clean)], steps[start : start + len(clean)]
            noise = normal(tuple(clean.shape[1:]), seed=0, source=source, index=index.tolist(), sample=band)
            noised = self._objective.schedule.add_noise(clean, noise, t)
            predicted = network(noised.to(self._device, self._dtype), t.to(self._device)).sample.float()
            target = self._objective.target(clean, noise, t).to(self._device)
            total += float(image_errors(predicted, target).double().sum())
        return total / len(images)
