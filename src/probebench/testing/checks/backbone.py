"""Checks of what a backbone states about itself: taps, levels, input range, fingerprint."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from probebench.api import Backbone, Level, Point, Tap, UsageError
from probebench.testing.checks.contract import Build, CheckList, ConformanceError, NotApplicableError, require
from probebench.testing.samples import build_backbone, flat_images, noise_images

if TYPE_CHECKING:
    from collections.abc import Iterable

backbone_check = CheckList("backbone")

_RANK = {"spatial": 3, "tokens": 2, "vector": 1}
_ROUNDING = 1e-3


def _check_names(names: Iterable[str], what: str) -> None:
    counts = Counter(names)
    twice = [name for name, count in counts.items() if count > 1]
    require(not twice, f"{what} {twice} have the same name", hint="use a unique name for each")
    invalid = [name for name in counts if not name or re.search(r"[@,\s]", name)]
    require(not invalid, f"{what} {invalid} cannot be written on the command line", hint="use no '@', comma or space")


@backbone_check
def taps_are_unique(build: Build[Backbone]) -> None:
    """Tap ids are unique, can be written on the command line, and at least one tap is a default."""
    taps = build_backbone(build).taps
    _check_names((tap.id for tap in taps), "taps")
    require(any(tap.default for tap in taps), "no tap is a default", hint="set default=True on the taps to read")


@backbone_check
def aliases_are_unique(build: Build[Backbone]) -> None:
    """An alias names one tap, and is not the id of another."""
    taps = build_backbone(build).taps
    names = Counter(name for tap in taps for name in (tap.id, *tap.aliases))
    twice = [name for name, count in names.items() if count > 1]
    require(not twice, f"{twice} name more than one tap", hint="use each alias for one tap only")


@backbone_check
def taps_do_not_change(build: Build[Backbone]) -> None:
    """Two builds have the same taps in the same order, before and after an extraction."""
    first, second = build_backbone(build), build_backbone(build)
    hint = "compute taps() from the options and the image size alone"
    require(first.taps == second.taps, "two builds have different taps", hint=hint)
    first.features(first.batch(2))
    require(tuple(first.backbone.taps(first.size)) == first.taps, "taps() changes after extract()", hint=hint)


@backbone_check
def costs_rise(build: Build[Backbone]) -> None:
    """Costs are above 0, at most 1, and do not fall in the declared order of the taps."""
    costs = [(tap.id, tap.cost) for tap in build_backbone(build).taps]
    for name, cost in costs:
        require(
            0 < cost <= 1, f"tap {name} costs {cost}", hint="return a share of the forward pass, above 0 and at most 1"
        )
    for (shallow, less), (deep, more) in pairwise(costs):
        require(
            less <= more,
            f"tap {deep} costs {more}, less than {shallow} before it with {less}",
            hint="order taps() from the shallowest to the deepest",
        )


def _pooled_sizes(tap: Tap) -> dict[str, int]:
    """Returns the length of the vector for each pool of a tap, from its declared shape."""
    flat = math.prod(tap.shape)
    if tap.kind == "vector":
        return {"flat": flat}
    channels = tap.shape[0] if tap.kind == "spatial" else tap.shape[1]
    other = {"grid2": 4 * channels} if tap.kind == "spatial" else {"cls": channels}
    return {"gap": channels, "max": channels, "flat": flat} | other


@backbone_check
def shapes_are_correct(build: Build[Backbone]) -> None:
    """Every tap has the declared shape, with each pool."""
    built = build_backbone(build)
    for tap in built.taps:
        require(
            len(tap.shape) == _RANK[tap.kind],
            f"tap {tap.id} is {tap.kind}, but its shape is {tap.shape}",
            hint="declare (C, H, W) for spatial, (N, C) for tokens, (D,) for vector",
        )
    sizes = {
        Point(tap.id, built.levels[0].id, pool): size for tap in built.taps for pool, size in _pooled_sizes(tap).items()
    }
    features = built.features(built.batch(2), list(sizes))
    for point, size in sizes.items():
        length = features[point].shape[-1]
        require(
            length == size,
            f"{point} has {length} numbers, but its declared shape has {size}",
            hint="correct Tap.shape, and pool with api.pool_map",
        )


@backbone_check
def levels_are_unique(build: Build[Backbone]) -> None:
    """Level ids are unique, level(id) returns each level, and sigma is a number of at least 0, or None."""
    backbone = build_backbone(build).backbone
    levels = tuple(backbone.levels())
    _check_names((level.id for level in levels), "levels")
    for level in levels:
        same = backbone.level(level.id)
        require(same == level, f"level({level.id!r}) returns {same}", hint=f"return {level}")
        fine = level.sigma is None or (math.isfinite(level.sigma) and level.sigma >= 0)
        require(fine, f"level {level.id} has sigma {level.sigma}", hint="set sigma to sqrt((1 - abar) / abar), or None")


@backbone_check
def unknown_level_is_refused(build: Build[Backbone]) -> None:
    """level() raises UsageError for a level that does not exist."""
    backbone = build_backbone(build).backbone
    try:
        level = backbone.level("no-such-level")
    except UsageError:
        return
    except Exception as error:
        raise ConformanceError(
            f"level('no-such-level') raises {type(error).__name__}; raise api.UsageError instead"
        ) from error
    require(holds=False, what=f"level('no-such-level') returns {level}", hint="raise api.UsageError")


def _timed(levels: Iterable[Level]) -> list[tuple[int, Level]]:
    """Returns the levels that are time steps, in ascending order."""
    steps = {int(match[1]): level for level in levels if (match := re.fullmatch(r"t=(\d+)", level.id))}
    return sorted(steps.items())


@backbone_check
def sigma_rises_with_t(build: Build[Backbone]) -> None:
    """A level t=N has at least as much noise as a level with a smaller N."""
    backbone = build_backbone(build).backbone
    levels = list(backbone.levels())
    for step in (0, 1, 10, 100, 500, 900, 999):
        try:
            levels.append(backbone.level(f"t={step}"))
        except UsageError:
            continue
    timed = [(step, level.sigma) for step, level in _timed(levels) if level.sigma is not None]
    if len(timed) < 2:
        raise NotApplicableError("the backbone has no two levels t=N with a sigma")
    for (step, sigma), (later, more) in pairwise(timed):
        require(
            sigma <= more,
            f"t={later} has sigma {more}, less than t={step} with {sigma}",
            hint="count t from the least noise (t=0) to the most",
        )


@backbone_check
def input_range_is_kept(build: Build[Backbone]) -> None:
    """prepare() returns float32 (B, C, H, W) within input_range, for black, white and random images."""
    built = build_backbone(build)
    low, high = built.backbone.input_range
    fine = math.isfinite(low) and math.isfinite(high) and low < high
    require(fine, f"input_range is ({low}, {high})", hint="set it to the smallest and the largest input of the network")
    images = torch.cat([flat_images(built.size), noise_images(6, built.size)])
    with torch.inference_mode():
        prepared = built.backbone.prepare(images)
    require(prepared.dtype == torch.float32, f"prepare() returns {prepared.dtype}", hint="return float32")
    shaped = prepared.ndim == 4 and len(prepared) == len(images)
    require(
        shaped, f"prepare() returns shape {tuple(prepared.shape)}", hint="return (B, C, H, W), one row for each image"
    )
    least, most = float(prepared.min()), float(prepared.max())
    require(
        low - _ROUNDING <= least and most <= high + _ROUNDING,
        f"prepare() returns values from {least:.4g} to {most:.4g}, outside of input_range ({low:.4g}, {high:.4g})",
        hint="correct the normalisation in prepare(), or set input_range to the range of the training",
    )


@backbone_check
def fingerprint_is_stable(build: Build[Backbone]) -> None:
    """fingerprint() is a SHA-256 in hexadecimal, the same for two builds and after an extraction."""
    built, again = build_backbone(build), build_backbone(build)
    first = built.backbone.fingerprint()
    is_sha256 = bool(re.fullmatch(r"[0-9a-f]{64}", first))
    require(
        is_sha256, f"fingerprint() is {first!r}", hint="return 64 hexadecimal digits, such as sha256(...).hexdigest()"
    )
    hint = "hash only weights, architecture and preprocessing"
    require(first == again.backbone.fingerprint(), "two builds have different fingerprints", hint=hint)
    built.features(built.batch(2))
    require(first == built.backbone.fingerprint(), "fingerprint() changes after extract()", hint=hint)
