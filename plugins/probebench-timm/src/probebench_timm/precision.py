"""A model in bf16, after a look at whether its features are still those of fp32.

Kernels differ by processor and by the shape of a layer, and some are wrong: on a CPU with AMX PyTorch 2.15 gives for a
convolution of 16 channels by 4x4 pixels at stride 4, which Visformer has, numbers that have nothing to do with its
weights (of the kind of pytorch/pytorch#169688). Features made of them look like any others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api import UsageError
from probebench_timm.taps import read, sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench_timm.network import TimmModel

TOLERANCE = 0.25
"""Relative difference of a tap's features. Sound ones stay below 0.09, in one small model from each of 80 families."""


def to_bf16(net: TimmModel, inputs: Sequence[Tensor]) -> None:
    """Casts a model to bf16, laid out channels last, as matrix units like it.

    Args:
        net: In fp32, on the device it will run on.
        inputs: One of each size that it will see, float32 ``(1, 3, H, W)``, on the same device.

    Raises:
        UsageError: The features of a tap differ from those of fp32 by more than rounding.
    """
    wanted = sites(net)
    with torch.inference_mode():
        exact = [read(net, image, wanted) for image in inputs]
        net.to(dtype=torch.bfloat16).to(memory_format=torch.channels_last)
        for image, features in zip(inputs, exact, strict=True):
            rounded = read(net, image.to(torch.bfloat16, memory_format=torch.channels_last), wanted)
            for tap, feature in features.items():
                _require_sound(tap, feature, rounded[tap].float(), net.pretrained_cfg["architecture"])


def _require_sound(tap: str, exact: Tensor, rounded: Tensor, name: str) -> None:
    difference, size = (rounded - exact).norm(), exact.norm()
    # Written so that NaN fails as well, and features that are zero in both precisions pass.
    if not difference <= TOLERANCE * size:
        raise UsageError(
            f"{tap} in bf16 differs by {float(difference / size):.0%} from fp32: more than rounding",
            where=f"timm's {name} on {exact.device}",
            hint="--precision fp32",
        )
