"""How learning rates fall while a head is trained."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "cosine-epochs", "step", "constant"]


def factor(schedule: Schedule, *, epoch: int, epochs: int, step: int, steps: int) -> float:
    """What the learning rate is multiplied with.

    Args:
        schedule: ``cosine`` falls towards 0 from step to step, ``cosine-epochs`` from epoch to epoch, and ``step`` to a
            tenth after every quarter of the epochs.
        epoch: Epochs done.
        epochs: Epochs in all.
        step: Steps done.
        steps: Steps in all.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return 0.1 ** (4 * epoch // epochs)
    share = step / steps if schedule == "cosine" else epoch / epochs
    return (1 + math.cos(math.pi * share)) / 2
