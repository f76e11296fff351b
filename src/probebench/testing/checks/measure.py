"""Checks of probes that consume samples."""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING

import torch

from probebench.api import ImageSet, ProbebenchWarning, SampleProbe
from probebench.testing.checks.contract import Build, CheckList, require
from probebench.testing.side_effects import require_no_global_random_state, tensor_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probebench.api import Measured

measure_check = CheckList("sample-probe")

_COUNT = 1100
"""Images of each set: more than the subsets of kernel distances."""

_CLASSES, _SHARP = 6, 8.0


def _images(seed: int, *, real: bool = True) -> ImageSet:
    """Returns clusters around the corners of a simplex, which are confident as logits; or one wide cluster."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(0, _CLASSES, (_COUNT,), generator=generator)
    centres = torch.nn.functional.one_hot(which, _CLASSES) * _SHARP if real else torch.full((_COUNT, _CLASSES), 1.0)
    features = centres + torch.randn(_COUNT, _CLASSES, generator=generator) * 0.5
    shades = (which[:, None, None, None] * 40).expand(-1, 3, 2, 2).to(torch.uint8)
    return ImageSet(list(shades.contiguous()), features.float())


def _measure(probe: SampleProbe, generated: ImageSet, real: ImageSet) -> Mapping[str, Measured]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)
        return probe.measure(generated, real)


@measure_check
def measures_are_usable(build: Build[SampleProbe]) -> None:
    """measure() returns finite numbers with short names in lower case, and no negative sd."""
    measured = _measure(build(), _images(0), _images(1))
    require(bool(measured), "measure() returns no number", hint="return one or more, the primary one first")
    for name, one in measured.items():
        fine = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None
        require(
            fine,
            f"a number has the name {name!r}",
            hint="use lower-case words joined by hyphens; the core adds the rest",
        )
        require(
            math.isfinite(one.value), f"{name} is {one.value}", hint="compute in float64, guard divisions and roots"
        )
        sound = one.sd is None or (math.isfinite(one.sd) and one.sd >= 0)
        require(sound, f"{name} has the sd {one.sd}", hint="return a finite sd, or None")


@measure_check
def equal_images_give_equal_numbers(build: Build[SampleProbe]) -> None:
    """The numbers depend on the options and the two sets, and not on the global random state."""
    require_no_global_random_state(lambda: _measure(build(), _images(0), _images(1)), lambda one, other: one == other)
    probe = build()
    first, again = (_measure(probe, _images(0), _images(1)) for _ in range(2))
    require(first == again, "a second call returns other numbers", hint="keep no state between two calls of measure()")


@measure_check
def inputs_are_not_modified(build: Build[SampleProbe]) -> None:
    """measure() does not modify features and images."""
    sets = (_images(0), _images(1))
    before = [tensor_digest(part) for one in sets for part in (one.features, *one.images)]
    _measure(build(), *sets)
    after = [tensor_digest(part) for one in sets for part in (one.features, *one.images)]
    require(before == after, "measure() modifies its arguments", hint="work on a copy")


@measure_check
def real_images_are_better_than_a_blur(build: Build[SampleProbe]) -> None:
    """The first number is better for other real images than for one wide cluster."""
    reference = _images(1)
    real, blur = (_measure(build(), _images(0, real=real), reference) for real in (True, False))
    name, best = next(iter(real.items()))
    worst = blur[name]
    better = best.value > worst.value if best.higher_is_better else best.value < worst.value
    require(
        better,
        f"{name} is {best.value:.4g} for real images and {worst.value:.4g} for one wide cluster, and "
        f"{'higher' if best.higher_is_better else 'lower'} is declared as better",
        hint="correct higher_is_better, or the order of the arguments: the reference is the second",
    )
