"""What is read from a backbone: taps, levels and pool as they were asked for, as points of one network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api import CLEAN, PluginError, Point, Tap, UsageError, pool_for, pooled_shape
from probebench.util.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.api import Backbone, Level
    from probebench.planning.jobs import Job
    from probebench.planning.protocol import Extractor
    from probebench.planning.request import Request

ALL = "all"


@dataclass(frozen=True)
class Reading:
    """What is read from a backbone.

    Attributes:
        taps: By id.
        levels: By id.
        points: Every tap at every level, shallow taps first, then by level.
    """

    taps: dict[str, Tap]
    levels: dict[str, Level]
    points: tuple[Point, ...]

    @property
    def shapes(self) -> dict[Point, tuple[int, ...]]:
        """Of each point, the shape that a vector is the flattened form of."""
        return {point: pooled_shape(self.taps[point.tap], point.pool) for point in self.points}


def extractor_point(backbone: Backbone, image_size: tuple[int, int], extractor: Extractor) -> Point:
    """The point that a measure of drawn images is taken at.

    Args:
        backbone: The extractor, built.
        image_size: Height and width of the images.
        extractor: What the user asked for.

    Raises:
        UsageError: There is no such tap, level or pool, or several levels and none is named.
    """
    try:
        return _one_point(backbone, image_size, extractor.point)
    except UsageError as error:
        where = f"option point of {extractor.component.title}, an extractor"
        raise UsageError(error.what, where=where, hint=error.hint) from error


def _one_point(backbone: Backbone, image_size: tuple[int, int], text: str) -> Point:
    tap_name, _, rest = text.partition("@")
    level_name, _, pool = rest.partition("@")
    known = backbone.taps(image_size)
    tap = (_taps(known, (tap_name,)) if tap_name else [tap for tap in known if tap.default])[-1]
    levels = [backbone.level(level_name)] if level_name else list(backbone.levels())
    if len(levels) > 1:
        raise UsageError(
            f"it has {len(levels)} noise levels, and a measure is taken at one", hint=f"point={tap.id}@{levels[0].id}"
        )
    return Point(tap.id, levels[0].id, pool_for(tap, pool or "gap"))


def reading(backbone: Backbone, image_size: tuple[int, int], job: Job) -> Reading:
    """Resolves taps, levels and pool of a job for its backbone.

    Args:
        backbone: What is read.
        image_size: Height and width of the images.
        job: What is asked of it.

    Raises:
        UsageError: There is no such tap or level, the pool does not fit, or the backbone cannot take the images.
        PluginError: The backbone has no tap to read.
    """
    try:
        return _reading(backbone, image_size, job.request, alone=job.alone)
    except UsageError as error:
        if protocol := job.fixed.get(error.where or ""):
            raise UsageError(error.what, where=f"protocol {protocol}", hint=error.hint) from error
        raise


def _reading(backbone: Backbone, image_size: tuple[int, int], request: Request, *, alone: bool) -> Reading:
    known = backbone.taps(image_size)
    taps = list(known) if len(known) == 1 and not alone else _taps(known, request.taps)
    if not taps:
        raise PluginError("no tap is read by default", where=type(backbone).__name__, hint="name some with --taps")
    found = list(backbone.levels())
    if request.levels and (alone or [level.id for level in found] != [CLEAN.id]):
        found = [backbone.level(text) for text in request.levels]
    # Ascending, however they were asked for: of equal values on val the lower level wins.
    levels = {level.id: level for level in sorted(found, key=_noise)}
    points = [Point(tap.id, level, pool_for(tap, request.pool)) for tap in taps for level in levels]
    return Reading({tap.id: tap for tap in taps}, levels, tuple(points))


def _noise(level: Level) -> float:
    return math.inf if level.sigma is None else level.sigma


def _taps(known: Sequence[Tap], wanted: Sequence[str]) -> list[Tap]:
    if not wanted:
        return [tap for tap in known if tap.default]
    if tuple(wanted) == (ALL,):
        return list(known)
    names = {name.casefold(): tap for tap in known for name in (tap.id, *tap.aliases)}
    if missing := [name for name in wanted if name.casefold() not in names]:
        raise UsageError(f"no tap {missing[0]!r}", where="--taps", hint=_suggest_tap(missing[0], known))
    chosen = {names[name.casefold()].id for name in wanted}
    return [tap for tap in known if tap.id in chosen]


def _suggest_tap(word: str, known: Sequence[Tap]) -> str:
    """The tap that may have been meant, a fine one too; where nothing is close the default ones, which fit a line."""
    hint = suggest(word, [tap.id for tap in known])
    return hint if hint.startswith("did") else suggest(word, [tap.id for tap in known if tap.default])
