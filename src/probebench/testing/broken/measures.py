"""Probes of generated images that each break a requirement. Each docstring describes a mistake of a plugin author."""
# ruff: noqa: D102 - the docstring of a class describes its method

from __future__ import annotations

import torch

from probebench.api import ImageSet, Measured
from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyMeasure


@breaks("measures_are_usable")
class NegativeRoot(ToyMeasure):
    """Takes the square root of a negative number."""

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        found = super().measure(generated, real)
        return {"gap": Measured(float(torch.tensor(-found["gap"].value - 1).sqrt()))}


@breaks("measures_are_usable")
class CountInName(ToyMeasure):
    """Adds the number of images to the name, which the core does."""

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        return {f"gap@{len(generated.images)}": super().measure(generated, real)["gap"]}


@breaks("equal_images_give_equal_numbers")
class RandomSubsets(ToyMeasure):
    """Selects random subsets with the global random state."""

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        some = torch.randperm(len(generated.features))[:10]
        return super().measure(ImageSet([generated.images[int(n)] for n in some], generated.features[some]), real)


@breaks("equal_images_give_equal_numbers")
class KeepsState(ToyMeasure):
    """Keeps state between calls, so that the next number depends on it."""

    calls = 0

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        self.calls += 1
        return {"gap": Measured(super().measure(generated, real)["gap"].value / self.calls)}


@breaks("inputs_are_not_modified")
class CentresInPlace(ToyMeasure):
    """Subtracts the mean of the reference in place."""

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        found = super().measure(generated, real)
        generated.features.sub_(real.features.mean(0))
        return found


@breaks("real_images_are_better_than_a_blur")
class WrongDirection(ToyMeasure):
    """Declares that a larger distance is better."""

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        return {"gap": Measured(super().measure(generated, real)["gap"].value, higher_is_better=True)}
