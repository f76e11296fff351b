"""The range of a network's input: the rule that training, probing and sampling share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.errors import FeatureError

if TYPE_CHECKING:
    from torch import Tensor

_SLACK = 1e-3


def check_range(inputs: Tensor, expected: tuple[float, float], *, where: str) -> None:
    """Raises an error unless all values lie in a range.

    A network trained on one range and read on another gives features that look sound and are not.

    Args:
        inputs: A batch as the network gets it, before noise.
        expected: Smallest and largest value allowed; 0.001 more is let pass.
        where: What made the batch.

    Raises:
        FeatureError: A value lies outside, or is not finite.
    """
    import torch

    low, high = (float(value) for value in torch.aminmax(inputs))
    # Written so that NaN fails as well.
    if not (expected[0] - _SLACK <= low and high <= expected[1] + _SLACK):
        raise FeatureError(
            f"the input ranges from {low:.4g} to {high:.4g}, not within {expected[0]:g} to {expected[1]:g}",
            where=where,
            hint="correct the normalisation, or input_range if the network was trained on that range",
        )
