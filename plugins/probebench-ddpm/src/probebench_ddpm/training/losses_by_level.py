"""The loss in bands of noise: where a network still learns, and where it begins to know its images by heart.

The mean loss of an epoch hides both: it is one number over all noise, of weights on the way, on the images that are
learned, with noise that is another each time. Here the averaged weights are measured, on the same images with the same
noise at every checkpoint, and on images that are not trained on where there are any.
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
from probebench_ddpm.training.objective import Objective, errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import UNet2DModel
    from torch import Tensor

    from probebench.api import Precision

ENDS = (0, 100, 250, 500, STEPS)
"""Where bands begin and end. In the linear schedule sigma is 0.01 to 0.34 in the first, where features are read, 0.34
to 0.95 in the second, 0.95 to 3.4 in the third. Half of ten equal bands would lie beyond, where little of an image is
left to tell networks apart by, and one band would hold nearly all levels that are probed."""

BANDS = tuple(pairwise(ENDS))

COUNT = 256
"""Images of a set at most: 1,024 passes, about what 340 images cost in training. As images and noise are the same every
time, epochs differ by what was learned."""


class Bands:
    """Measures networks on sets of images.

    Args:
        sets: uint8 ``(N, 3, H, W)`` by name.
        objective: What is predicted.
        device: Where to compute.
        precision: Of the pass, as in training.
        batch_size: Images of a pass.
        scale: Of the network's input.
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
        """Mean squared error of what is predicted, without weights, for each set.

        Args:
            network: It is not changed.

        Returns:
            For each set its name as ``split``, its size as ``images``, and a loss for each band, such as ``t0-99``.
        """
        own = Module.to(copy.deepcopy(network), device=self._device, dtype=self._dtype).eval()
        rows: list[dict[str, float | str]] = []
        for name, images in self._sets.items():
            losses = {
                f"t{first}-{end - 1}": round(self._loss(own, images, f"bands/{name}", number), 6)
                for number, (first, end) in enumerate(BANDS)
            }
            rows.append({"split": name, "images": len(images), **losses})
        return rows

    @torch.inference_mode()
    def _loss(self, network: UNet2DModel, images: Tensor, source: str, band: int) -> float:
        """Steps are spread evenly over the band, and noise belongs to the image: nothing depends on the batch."""
        first, end = BANDS[band]
        places = torch.arange(len(images))
        steps = first + (2 * places + 1) * (end - first) // (2 * len(images))
        total = 0.0
        for start in range(0, len(images), self._batch_size):
            clean = to_input(images[start : start + self._batch_size], self._scale)
            index, t = places[start : start + len(clean)], steps[start : start + len(clean)]
            noise = normal(tuple(clean.shape[1:]), seed=0, source=source, index=index.tolist(), draw=band)
            noised = self._objective.schedule.add_noise(clean, noise, t)
            predicted = network(noised.to(self._device, self._dtype), t.to(self._device)).sample.float()
            target = self._objective.target(clean, noise, t).to(self._device)
            total += float(errors(predicted, target).double().sum())
        return total / len(images)
