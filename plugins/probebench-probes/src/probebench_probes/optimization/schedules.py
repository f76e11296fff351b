"""Learning-rate schedules."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "cosine-epochs", "step", "constant"]


def rate_factor(schedule: Schedule, *, epoch: int, epochs: int, step: int, steps: int) -> float:
    """Returns the factor that the initial learning rate is multiplied by.

    Args:
        schedule: ``cosine`` decays towards 0 step by step, ``cosine-epochs`` epoch by epoch, and ``step`` divides by 10
            after every quarter of the epochs.
        epoch: Number of finished epochs.
        epochs: Total number of epochs.
        step: Number of finished steps.
        steps: Total number of steps.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return 0.1 ** (4 * epoch // epochs)
    share = step / steps if schedule == "cosine" else epoch / epochs
    return (1 + math.cos(math.pi * share)) / 2
