"""Casting a model to bf16, with a check that its features agree with those in fp32.

Kernels differ by processor and by the shape of a layer, and some are wrong: on a CPU with AMX, PyTorch 2.15 computes a
convolution of 16 channels by 4x4 pixels at stride 4, as in Visformer, without regard to its weights (similar to
pytorch/pytorch#169688). The resulting features look like any others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api import UsageError
from probebench_timm.taps import all_sites, read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench_timm.network import TimmModel

TOLERANCE = 0.25
"""Largest accepted relative difference of a tap's features. In one small model from each of 80 families, correct
features differ by less than 0.09."""


def to_bf16(net: TimmModel, inputs: Sequence[Tensor]) -> None:
    """Casts a model to bf16 and to the channels-last layout, which is fastest on matrix units.

    Args:
        net: In fp32, on its final device.
        inputs: One input of each size that will be used, float32 ``(1, 3, H, W)``, on the same device.

    Raises:
        UsageError: The features of a tap differ from those of fp32 by more than rounding.
    """
    sites = all_sites(net)
    with torch.inference_mode():
        exact = [read(net, image, sites) for image in inputs]
        net.to(dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        for image, features in zip(inputs, exact, strict=True):
            rounded = read(net, image.to(torch.bfloat16, memory_format=torch.channels_last), sites)
            for tap, feature in features.items():
                _check_agreement(tap, feature, rounded[tap].float(), net.pretrained_cfg["architecture"])


def _check_agreement(tap: str, exact: Tensor, rounded: Tensor, name: str) -> None:
    difference, size = (rounded - exact).norm(), exact.norm()
    # In this form NaN fails as well, and features that are zero in both precisions pass.
    if not difference <= TOLERANCE * size:
        raise UsageError(
            f"{tap} in bf16 differs from fp32 by {100 * float(difference / size):.0f} %, which is more than rounding",
            where=f"timm's {name} on {exact.device}",
            hint="--precision fp32",
        )
