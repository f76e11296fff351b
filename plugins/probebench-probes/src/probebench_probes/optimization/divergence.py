"""The error for a chosen training that diverged: its scores must not become a row on a board."""

from __future__ import annotations

from probebench.api import TrainingError


def divergence_error(probe: str, learning_rate: float) -> TrainingError:
    """Returns the error to raise.

    Args:
        probe: Name of the probe.
        learning_rate: Learning rate at which weights or loss became infinite or NaN.
    """
    return TrainingError(
        f"{probe} diverges with the learning rate {learning_rate:g}, the best on val",
        where=f"option learning_rates of {probe}",
        hint=f"a smaller value, such as {probe}:learning_rates={min(learning_rate / 10, 0.01):g}",
    )
