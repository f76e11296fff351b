"""Probes of drawn images that each break a law. Each docstring says what a plugin author may have done."""
# ruff: noqa: D102 - a class says what is wrong with its method

from __future__ import annotations

import torch

from probebench.api import ImageSet, Measured
from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyMeasure


@breaks("measures_are_usable")
class NegativeRoot(ToyMeasure):
    """Took the root of a difference that is a little below 0."""

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        found = super().measure(drawn, real)
        return {"gap": Measured(float(torch.tensor(-found["gap"].value - 1).sqrt()))}


@breaks("measures_are_usable")
class NamesItself(ToyMeasure):
    """Wrote the number of images into the name, which the core does."""

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        return {f"gap@{len(drawn.images)}": super().measure(drawn, real)["gap"]}


@breaks("equal_images_give_equal_numbers")
class RandomSubsets(ToyMeasure):
    """Drew subsets from the global random state."""

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        some = torch.randperm(len(drawn.features))[:10]
        return super().measure(ImageSet([drawn.images[int(n)] for n in some], drawn.features[some]), real)


@breaks("equal_images_give_equal_numbers")
class RunningMean(ToyMeasure):
    """Kept what it saw, so that the next number depends on it."""

    calls = 0

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        self.calls += 1
        return {"gap": Measured(super().measure(drawn, real)["gap"].value / self.calls)}


@breaks("inputs_stay_as_they_are")
class CentresInPlace(ToyMeasure):
    """Subtracted the mean of the reference in place."""

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        found = super().measure(drawn, real)
        drawn.features.sub_(real.features.mean(0))
        return found


@breaks("real_images_are_better_than_a_blur")
class WrongWayRound(ToyMeasure):
    """Said that a distance is better the larger it is."""

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        return {"gap": Measured(super().measure(drawn, real)["gap"].value, higher_is_better=True)}
