"""The laws of a probe that consumes samples: what its numbers look like, and what they depend on."""

from __future__ import annotations

import math
import re
import warnings
from typing import TYPE_CHECKING

import torch

from probebench.api import ImageSet, ProbebenchWarning, SampleProbe
from probebench.testing.checks.contract import Build, CheckList, demand
from probebench.testing.side_effects import tensor_digest, without_random_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probebench.api import Measured

measure_check = CheckList("sample-probe")

_COUNT = 1100
"""Images of each set: as many as a kernel distance's subset, and some more."""

_CLASSES, _SHARP = 6, 8.0


def _images(seed: int, *, real: bool = True) -> ImageSet:
    """Clusters around the corners of a simplex, which are sure answers if taken as logits; or one blurred heap."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(0, _CLASSES, (_COUNT,), generator=generator)
    centres = torch.nn.functional.one_hot(which, _CLASSES) * _SHARP if real else torch.full((_COUNT, _CLASSES), 1.0)
    features = centres + torch.randn(_COUNT, _CLASSES, generator=generator) * 0.5
    shades = (which[:, None, None, None] * 40).expand(-1, 3, 2, 2).to(torch.uint8)
    return ImageSet(list(shades.contiguous()), features.float())


def _measure(probe: SampleProbe, drawn: ImageSet, real: ImageSet) -> Mapping[str, Measured]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)
        return probe.measure(drawn, real)


@measure_check
def measures_are_usable(build: Build[SampleProbe]) -> None:
    """measure() gives finite numbers under short names in lower case, and no negative sd."""
    found = _measure(build(), _images(0), _images(1))
    demand(bool(found), "measure() gives no number", hint="give one or more, the one to report first")
    for name, one in found.items():
        fine = re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None
        demand(fine, f"a number is called {name!r}", hint="lower-case words joined by hyphens; the core adds the rest")
        demand(math.isfinite(one.value), f"{name} is {one.value}", hint="compute in float64, guard divisions and roots")
        sound = one.sd is None or (math.isfinite(one.sd) and one.sd >= 0)
        demand(sound, f"{name} has the sd {one.sd}", hint="give a finite one, or None where there is none")


@measure_check
def equal_images_give_equal_numbers(build: Build[SampleProbe]) -> None:
    """The numbers are a function of the options and the two sets, and of no random state."""
    without_random_state(lambda: _measure(build(), _images(0), _images(1)), lambda one, other: one == other)
    probe = build()
    first, again = (_measure(probe, _images(0), _images(1)) for _ in range(2))
    demand(first == again, "a second call gives other numbers", hint="keep nothing between two calls of measure()")


@measure_check
def inputs_stay_as_they_are(build: Build[SampleProbe]) -> None:
    """measure() modifies neither features nor images."""
    sets = (_images(0), _images(1))
    before = [tensor_digest(part) for one in sets for part in (one.features, *one.images)]
    _measure(build(), *sets)
    after = [tensor_digest(part) for one in sets for part in (one.features, *one.images)]
    demand(before == after, "measure() modifies what it is given", hint="work on a copy")


@measure_check
def real_images_are_better_than_a_blur(build: Build[SampleProbe]) -> None:
    """The first number is better for other real images than for features that are all alike."""
    reference = _images(1)
    real, blur = (_measure(build(), _images(0, real=real), reference) for real in (True, False))
    name, best = next(iter(real.items()))
    worst = blur[name]
    better = best.value > worst.value if best.higher_is_better else best.value < worst.value
    demand(
        better,
        f"{name} is {best.value:.4g} for real images and {worst.value:.4g} for a blur, and "
        f"{'higher' if best.higher_is_better else 'lower'} is said to be better",
        hint="look at higher_is_better, and at which argument is the reference",
    )
