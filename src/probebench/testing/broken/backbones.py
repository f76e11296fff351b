"""Backbones that say something wrong about themselves. Each docstring says what a plugin author may have done."""
# ruff: noqa: D102 - a class says what is wrong with its method

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
class TwoTapsOfOneName(ToyBackbone):
    """Two blocks were given one name."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        early, late, head = super().taps(image_size)
        return (early, replace(late, id="early"), head)


@breaks("taps_are_unique")
class TapWithAComma(ToyBackbone):
    """``--taps`` splits at commas, so that nobody can ask for this tap."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return (replace(super().taps(image_size)[0], id="early,first"),)


@breaks("taps_are_unique")
class NoDefaultTap(ToyBackbone):
    """`run` without ``--taps`` would read nothing."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, default=False) for tap in super().taps(image_size))


@breaks("aliases_are_unique")
class AliasOfTwoTaps(ToyBackbone):
    """A paper's name was copied to a second tap."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, aliases=("toy:first",)) for tap in super().taps(image_size))


@breaks("aliases_are_unique")
class AliasIsATap(ToyBackbone):
    """The alias of one tap is the id of another."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        early, late, head = super().taps(image_size)
        return (early, replace(late, aliases=("early",)), head)


@breaks("taps_do_not_change")
class TapsInRandomOrder(ToyBackbone):
    """The taps come from a set, whose order differs between processes and builds."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._turned = next(_built) % 2

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        taps = super().taps(image_size)
        return taps[::-1] if self._turned else taps


@breaks("costs_rise")
class CostsInPercent(ToyBackbone):
    """Costs go to 100 instead of 1."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, cost=100 * tap.cost) for tap in super().taps(image_size))


@breaks("costs_rise")
class DeepestTapFirst(ToyBackbone):
    """The taps are listed from the output to the input."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return super().taps(image_size)[::-1]


@breaks("shapes_are_real")
class HeightForgotten(ToyBackbone):
    """The stride of the second block is not in its declared shape: right under gap, wrong under flat."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        early, late, head = super().taps(image_size)
        return (early, replace(late, shape=(8, *image_size)), head)


@breaks("shapes_are_real")
class ShapeOfAnotherKind(ToyBackbone):
    """A spatial tap is declared with the shape of a vector."""

    def taps(self, image_size: tuple[int, int]) -> tuple[Tap, ...]:
        return tuple(replace(tap, shape=tap.shape[:1]) for tap in super().taps(image_size))


@breaks("levels_are_unique")
class TwoLevelsOfOneName(ToyBackbone):
    """Two noise levels share an id."""

    def levels(self) -> tuple[Level, ...]:
        return (CLEAN, Level("t=10", 0.1), Level("t=10", 0.2))


@breaks("levels_are_unique")
class LevelFindsAnother(ToyBackbone):
    """level() ignores what it was asked for."""

    def level(self, text: str) -> Level:
        del text
        return CLEAN


@breaks("levels_are_unique")
class InfiniteSigma(ToyBackbone):
    """The last step of a schedule with zero terminal signal has no finite noise to signal ratio."""

    def levels(self) -> tuple[Level, ...]:
        return (CLEAN, Level("t=999", float("inf")))


@breaks("unknown_level_is_refused")
class UnknownLevelIsClean(ToyBackbone):
    """A misspelt level is read as the clean image, without a word."""

    def level(self, text: str) -> Level:
        return next((level for level in self.levels() if level.id == text), CLEAN)


@breaks("unknown_level_is_refused")
class UnknownLevelIsKeyError(ToyBackbone):
    """A misspelt level ends in a traceback."""

    def level(self, text: str) -> Level:
        return {level.id: level for level in self.levels()}[text]


@breaks("sigma_rises_with_t")
class ReversedSchedule(ToyBackbone):
    """Time steps are counted from the most noise, as some samplers do."""

    def levels(self) -> tuple[Level, ...]:
        return (Level("t=10", 0.8), Level("t=100", 0.1))


@breaks("input_range_is_kept")
class NormalisedTooFar(ToyBackbone):
    """Images reach 1.1, a range the network was not trained with."""

    def prepare(self, images: Tensor) -> Tensor:
        return super().prepare(images) * 1.1


@breaks("input_range_is_kept")
class PreparedInHalfPrecision(ToyBackbone):
    """The cast to bf16 comes before the noise, and swallows it."""

    def prepare(self, images: Tensor) -> Tensor:
        return super().prepare(images).bfloat16()


@breaks("fingerprint_is_stable")
class FingerprintOfTheObject(ToyBackbone):
    """The fingerprint differs between builds, so that no stored feature is ever found again."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._number = next(_built)

    def fingerprint(self) -> str:
        return f"{self._number:064x}"


@breaks("fingerprint_is_stable")
class FingerprintIsAName(ToyBackbone):
    """The fingerprint is the name of a checkpoint, whatever weights it holds."""

    def fingerprint(self) -> str:
        return "toy-v1"


@breaks("bf16_gives_float32")
class NotFiniteInHalfPrecision(ToyBackbone):
    """A smallest number that is not 0 in float32 alone guards a division."""

    def forward(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        maps = super().forward(images, wanted)
        smallest = torch.full((), 1e-40, dtype=images.dtype)
        half = next(self.network.parameters()).dtype == torch.bfloat16
        return {name: value / smallest * smallest if half else value for name, value in maps.items()}


class RefusesHalfPrecision(ToyBackbone):
    """Not broken: a backbone may refuse bf16, and the check says so by skipping."""

    def move_to(self, device: str, precision: Precision) -> None:
        if precision == "bf16":
            raise UsageError("the toy network runs in fp32 only", where="--precision", hint="fp32")
        super().move_to(device, precision)
