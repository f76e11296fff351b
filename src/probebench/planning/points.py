"""Points: the taps, levels and pool of a request, resolved for one backbone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from probebench.api import CLEAN, PluginError, Point, Tap, UsageError, pool_for, pooled_shape
from probebench.planning.request import RequestError
from probebench.util.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from probebench.api import Backbone, Level
    from probebench.planning.protocol import Extractor

ALL = "all"


@dataclass(frozen=True)
class RequestedPoints:
    """The points of a job as they were written.

    Attributes:
        taps: Names or aliases; ``all`` for every tap; empty for the backbone's default taps.
        levels: As the backbone writes them; empty for its default levels.
        pool: How feature maps become vectors.
        only_contender: Whether the backbone must have every tap and level. Beside another contender, one with a single
            tap is read there, and one without noise levels is read ``clean``.
        fixed: The options that a protocol fixes, such as ``--taps``, and the name of that protocol.
    """

    taps: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    pool: str = "gap"
    only_contender: bool = True
    fixed: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class ResolvedPoints:
    """The points that are read from one backbone.

    Attributes:
        taps: By id.
        levels: By id, from the least noise to the most.
        points: Every tap at every level, shallow taps first, then by level.
    """

    taps: dict[str, Tap]
    levels: dict[str, Level]
    points: tuple[Point, ...]

    @property
    def shapes(self) -> dict[Point, tuple[int, ...]]:
        """For each point the shape that its flattened vector has."""
        return {point: pooled_shape(self.taps[point.tap], point.pool) for point in self.points}


def resolve_points(backbone: Backbone, image_size: tuple[int, int], requested: RequestedPoints) -> ResolvedPoints:
    """Resolves taps, levels and pool for a backbone.

    Args:
        backbone: The backbone, built.
        image_size: Height and width of the images.
        requested: What was written.

    Raises:
        RequestError: There is no such tap or level, or the pool does not fit.
        UsageError: The backbone cannot take the images.
        PluginError: The backbone has no tap to read.
    """
    known = backbone.taps(image_size)
    try:
        return _resolve(backbone, known, requested)
    except UsageError as error:
        protocol = requested.fixed.get(error.where or "")
        where = f"protocol {protocol}" if protocol else error.where
        raise RequestError(error.what, where=where, hint=error.hint) from error


def _resolve(backbone: Backbone, known: Sequence[Tap], requested: RequestedPoints) -> ResolvedPoints:
    taps = list(known) if len(known) == 1 and not requested.only_contender else _taps(known, requested.taps)
    if not taps:
        raise PluginError(
            "the backbone has no default tap",
            where=type(backbone).__name__,
            hint=f"--taps {known[-1].id}" if known else "",
        )
    levels = list(backbone.levels())
    if requested.levels and (requested.only_contender or [level.id for level in levels] != [CLEAN.id]):
        levels = [backbone.level(text) for text in requested.levels]
    # Ascending, in any order of the request: of equal values on val the lower level is chosen.
    ascending = {level.id: level for level in sorted(levels, key=_noise)}
    points = [Point(tap.id, level, pool_for(tap, requested.pool)) for tap in taps for level in ascending]
    return ResolvedPoints({tap.id: tap for tap in taps}, ascending, tuple(points))


def resolve_extractor_point(backbone: Backbone, image_size: tuple[int, int], extractor: Extractor) -> Point:
    """Resolves the point that a measure of generated images is computed at.

    Args:
        backbone: The extractor, built.
        image_size: Height and width of the images.
        extractor: What was written.

    Raises:
        RequestError: There is no such tap, level or pool, or no level is named and there are several.
    """
    try:
        return _one_point(backbone, image_size, extractor.point)
    except UsageError as error:
        where = f"option point of {extractor.component.title}, an extractor"
        raise RequestError(error.what, where=where, hint=error.hint) from error


def _one_point(backbone: Backbone, image_size: tuple[int, int], text: str) -> Point:
    tap_name, _, rest = text.partition("@")
    level_name, _, pool = rest.partition("@")
    known = backbone.taps(image_size)
    tap = (_taps(known, (tap_name,)) if tap_name else [tap for tap in known if tap.default])[-1]
    levels = [backbone.level(level_name)] if level_name else list(backbone.levels())
    if len(levels) > 1:
        raise UsageError(
            f"the extractor has {len(levels)} noise levels, and a measure is computed at one",
            hint=f"point={tap.id}@{levels[0].id}",
        )
    return Point(tap.id, levels[0].id, pool_for(tap, pool or "gap"))


def _noise(level: Level) -> float:
    return math.inf if level.sigma is None else level.sigma


def _taps(known: Sequence[Tap], requested: Sequence[str]) -> list[Tap]:
    if not requested:
        return [tap for tap in known if tap.default]
    if tuple(requested) == (ALL,):
        return list(known)
    names = {name.casefold(): tap for tap in known for name in (tap.id, *tap.aliases)}
    if missing := [name for name in requested if name.casefold() not in names]:
        raise UsageError(f"no tap is called {missing[0]!r}", where="--taps", hint=_suggest_tap(missing[0], known))
    chosen = {names[name.casefold()].id for name in requested}
    return [tap for tap in known if tap.id in chosen]


def _suggest_tap(word: str, known: Sequence[Tap]) -> str:
    """Names the closest tap, a fine one too; where none is close, the default taps, which fit in one line."""
    hint = suggest(word, [tap.id for tap in known])
    return hint if hint.startswith("did") else suggest(word, [tap.id for tap in known if tap.default])
