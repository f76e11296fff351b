"""What is said of a training that has diverged, where it is the chosen one: its scores would be a row on a board."""

from __future__ import annotations

from probebench.api import TrainingError


def diverged(probe: str, learning_rate: float) -> TrainingError:
    """The error to raise.

    Args:
        probe: Its name.
        learning_rate: With which weights or loss have become infinite or NaN.
    """
    return TrainingError(
        f"{probe} diverges with the learning rate {learning_rate:g}, the best on val",
        where=f"option learning_rates of {probe}",
        hint="smaller ones",
    )
