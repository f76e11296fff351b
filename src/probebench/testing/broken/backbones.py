"""Backbones with wrong taps, levels, ranges or fingerprints. Each docstring describes a mistake of a plugin author."""
# ruff: noqa: D102 - the docstring of a class describes its method

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import Tensor

from probebench.api import CLEAN, Level, Options, Precision, Tap, UsageError
from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyBackbone

_built = itertools.count()


@breaks("taps_are_unique")
class DuplicateTap(ToyBackbone):
    """Uses one name for two blocks."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        early, late, head = super().taps(image_size)
        return (early, replace(late, id="early"), head)


@breaks("taps_are_unique")
class TapWithAComma(ToyBackbone):
    """Has a comma in the name of a tap, at which ``--taps`` splits."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return (replace(super().taps(image_size)[0], id="early,first"),)


@breaks("taps_are_unique")
class NoDefaultTap(ToyBackbone):
    """Has no default tap, so that `run` without ``--taps`` reads nothing."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, default=False) for tap in super().taps(image_size))


@breaks("aliases_are_unique")
class AliasOfTwoTaps(ToyBackbone):
    """Uses one alias for several taps."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, aliases=("toy:first",)) for tap in super().taps(image_size))


@breaks("aliases_are_unique")
class AliasIsATap(ToyBackbone):
    """Uses the id of a tap as the alias of another."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        early, late, head = super().taps(image_size)
        return (early, replace(late, aliases=("early",)), head)


@breaks("taps_do_not_change")
class TapsInRandomOrder(ToyBackbone):
    """Stores the taps in a set, whose order differs between builds."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._reversed = next(_built) % 2

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        taps = super().taps(image_size)
        return taps[::-1] if self._reversed else taps


@breaks("costs_rise")
class CostsInPercent(ToyBackbone):
    """Returns costs in percent."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, cost=100 * tap.cost) for tap in super().taps(image_size))


@breaks("costs_rise")
class DeepestTapFirst(ToyBackbone):
    """Lists the taps from the output to the input."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return super().taps(image_size)[::-1]


@breaks("shapes_are_correct")
class WrongTapShape(ToyBackbone):
    """Ignores the stride of a block in its declared shape, which is wrong for the pool flat only."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        early, late, head = super().taps(image_size)
        return (early, replace(late, shape=(8, *image_size)), head)


@breaks("shapes_are_correct")
class ShapeOfAnotherKind(ToyBackbone):
    """Declares a spatial tap with the shape of a vector."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, shape=tap.shape[:1]) for tap in super().taps(image_size))


@breaks("levels_are_unique")
class DuplicateLevel(ToyBackbone):
    """Uses one id for two levels."""

    def levels(self) -> tuple[Level, ...]:
        return (CLEAN, Level("t=10", 0.1), Level("t=10", 0.2))


@breaks("levels_are_unique")
class LevelIgnoresItsArgument(ToyBackbone):
    """Returns the level clean for every id."""

    def level(self, text: str) -> Level:
        del text
        return CLEAN


@breaks("levels_are_unique")
class InfiniteSigma(ToyBackbone):
    """Declares a level of pure noise, whose noise-to-signal ratio is infinite."""

    def levels(self) -> tuple[Level, ...]:
        return (CLEAN, Level("t=999", float("inf")))


@breaks("unknown_level_is_refused")
class UnknownLevelIsClean(ToyBackbone):
    """Returns the level clean for a misspelt level."""

    def level(self, text: str) -> Level:
        return next((level for level in self.levels() if level.id == text), CLEAN)


@breaks("unknown_level_is_refused")
class UnknownLevelIsKeyError(ToyBackbone):
    """Raises KeyError for a misspelt level, which has no message for the user."""

    def level(self, text: str) -> Level:
        return {level.id: level for level in self.levels()}[text]


@breaks("sigma_rises_with_t")
class ReversedSchedule(ToyBackbone):
    """Counts time steps from the most noise, as some samplers do."""

    def levels(self) -> tuple[Level, ...]:
        return (Level("t=10", 0.8), Level("t=100", 0.1))


@breaks("input_range_is_kept")
class InputOutOfRange(ToyBackbone):
    """Scales images to 1.1, a range that the network was not trained on."""

    def prepare(self, images: Tensor) -> Tensor:
        return super().prepare(images) * 1.1


@breaks("input_range_is_kept")
class PreparedInHalfPrecision(ToyBackbone):
    """Casts to bf16 before the noise is added, so that small noise is lost."""

    def prepare(self, images: Tensor) -> Tensor:
        return super().prepare(images).bfloat16()


@breaks("fingerprint_is_stable")
class FingerprintPerBuild(ToyBackbone):
    """Returns a fingerprint that differs between builds, so that stored features are never used."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._number = next(_built)

    def fingerprint(self) -> str:
        return f"{self._number:064x}"


@breaks("fingerprint_is_stable")
class FingerprintIsAName(ToyBackbone):
    """Returns the name of a checkpoint as its fingerprint."""

    def fingerprint(self) -> str:
        return "toy-v1"


@breaks("bf16_gives_float32")
class NotFiniteInHalfPrecision(ToyBackbone):
    """Divides by a number that is 0 in bf16."""

    def forward(self, images: Tensor, taps: set[str]) -> dict[str, Tensor]:
        maps = super().forward(images, taps)
        smallest = torch.full((), 1e-40, dtype=images.dtype)
        half = next(self.network.parameters()).dtype == torch.bfloat16
        return {name: value / smallest * smallest if half else value for name, value in maps.items()}


class RefusesHalfPrecision(ToyBackbone):
    """Not broken: a backbone may raise an error for bf16, and the check is skipped."""

    def move_to(self, device: str, precision: Precision) -> None:
        if precision == "bf16":
            raise UsageError("the toy network runs in fp32 only", where="--precision", hint="fp32")
        super().move_to(device, precision)
