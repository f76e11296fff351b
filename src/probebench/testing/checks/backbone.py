"""What a backbone says about itself: taps, levels, input range, fingerprint."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from probebench.api import Backbone, Level, Point, Tap, UsageError
from probebench.testing.checks.contract import Build, CheckList, ConformanceError, NotApplicableError, demand
from probebench.testing.samples import flat_images, noise_images, setup

if TYPE_CHECKING:
    from collections.abc import Iterable

backbone_check = CheckList("backbone")

_RANK = {"spatial": 3, "tokens": 2, "vector": 1}
_ROUNDING = 1e-3


def _check_names(names: Iterable[str], what: str) -> None:
    counts = Counter(names)
    twice = [name for name, count in counts.items() if count > 1]
    demand(not twice, f"{what} {twice} named more than once", hint="every name must be unique in the backbone")
    odd = [name for name in counts if not name or re.search(r"[@,\s]", name)]
    demand(not odd, f"{what} {odd} cannot be written on the command line", hint="use no '@', comma or space")


@backbone_check
def taps_are_unique(build: Build[Backbone]) -> None:
    """Tap ids are unique, can be written on the command line, and at least one tap is a default."""
    taps = setup(build).taps
    _check_names((tap.id for tap in taps), "taps")
    demand(any(tap.default for tap in taps), "no tap is a default", hint="set default=True on the taps to read")


@backbone_check
def aliases_are_unique(build: Build[Backbone]) -> None:
    """An alias stands for one tap, and is not the id of another."""
    taps = setup(build).taps
    names = Counter(name for tap in taps for name in (tap.id, *tap.aliases))
    twice = [name for name, count in names.items() if count > 1]
    demand(not twice, f"{twice} may mean more than one tap", hint="give each alias to one tap only")


@backbone_check
def taps_do_not_change(build: Build[Backbone]) -> None:
    """Two builds give the same taps in the same order, before and after an extraction."""
    first, second = setup(build), setup(build)
    hint = "compute taps() from the options and the image size alone"
    demand(first.taps == second.taps, "two builds give different taps", hint=hint)
    first.features(first.batch(2))
    demand(tuple(first.backbone.taps(first.size)) == first.taps, "taps() changes after extract()", hint=hint)


@backbone_check
def costs_rise(build: Build[Backbone]) -> None:
    """Costs are above 0, at most 1, and do not fall in the declared order of the taps."""
    costs = [(tap.id, tap.cost) for tap in setup(build).taps]
    for name, cost in costs:
        demand(0 < cost <= 1, f"tap {name} costs {cost}", hint="cost is a share of the forward pass, over 0, at most 1")
    for (shallow, less), (deep, more) in pairwise(costs):
        demand(
            less <= more,
            f"tap {deep} costs {more}, less than {shallow} before it with {less}",
            hint="order taps() from the shallowest to the deepest",
        )


def _pooled_sizes(tap: Tap) -> dict[str, int]:
    """The length of a vector for every way to pool a tap, from its declared shape."""
    flat = math.prod(tap.shape)
    if tap.kind == "vector":
        return {"flat": flat}
    channels = tap.shape[0] if tap.kind == "spatial" else tap.shape[1]
    other = {"grid2": 4 * channels} if tap.kind == "spatial" else {"cls": channels}
    return {"gap": channels, "max": channels, "flat": flat} | other


@backbone_check
def shapes_are_real(build: Build[Backbone]) -> None:
    """Every tap has the declared shape, however it is pooled."""
    run = setup(build)
    for tap in run.taps:
        demand(
            len(tap.shape) == _RANK[tap.kind],
            f"tap {tap.id} is {tap.kind} but its shape is {tap.shape}",
            hint="spatial is (C, H, W), tokens is (N, C), vector is (D,)",
        )
    sizes = {
        Point(tap.id, run.levels[0].id, pool): size for tap in run.taps for pool, size in _pooled_sizes(tap).items()
    }
    features = run.features(run.batch(2), list(sizes))
    for point, size in sizes.items():
        real = features[point].shape[-1]
        demand(
            real == size,
            f"{point} has {real} numbers, but its declared shape gives {size}",
            hint="correct Tap.shape, and pool with api.pool_map",
        )


@backbone_check
def levels_are_unique(build: Build[Backbone]) -> None:
    """Level ids are unique, level(id) finds each, and sigma is a number from 0 on or None."""
    backbone = setup(build).backbone
    levels = tuple(backbone.levels())
    _check_names((level.id for level in levels), "levels")
    for level in levels:
        found = backbone.level(level.id)
        demand(found == level, f"level({level.id!r}) gives {found}", hint=f"it must give {level}")
        fine = level.sigma is None or (math.isfinite(level.sigma) and level.sigma >= 0)
        demand(fine, f"level {level.id} has sigma {level.sigma}", hint="sigma is sqrt((1 - abar) / abar), or None")


@backbone_check
def unknown_level_is_refused(build: Build[Backbone]) -> None:
    """level() raises UsageError for a level that does not exist."""
    backbone = setup(build).backbone
    try:
        found = backbone.level("no-such-level")
    except UsageError:
        return
    except Exception as error:
        raise ConformanceError(
            f"level('no-such-level') raises {type(error).__name__}; raise api.UsageError, which users can read"
        ) from error
    demand(holds=False, what=f"level('no-such-level') gives {found}", hint="raise api.UsageError")


def _timed(levels: Iterable[Level]) -> list[tuple[int, Level]]:
    """The levels that are time steps, by rising step."""
    steps = {int(match[1]): level for level in levels if (match := re.fullmatch(r"t=(\d+)", level.id))}
    return sorted(steps.items())


@backbone_check
def sigma_rises_with_t(build: Build[Backbone]) -> None:
    """Of two levels t=N, the one with the larger N has no less noise."""
    backbone = setup(build).backbone
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
        demand(
            sigma <= more,
            f"t={later} has sigma {more}, less than t={step} with {sigma}",
            hint="t counts from least noise (t=0) to most",
        )


@backbone_check
def input_range_is_kept(build: Build[Backbone]) -> None:
    """prepare() gives float32 (B, C, H, W) within input_range, for black, white and random images."""
    run = setup(build)
    low, high = run.backbone.input_range
    fine = math.isfinite(low) and math.isfinite(high) and low < high
    demand(fine, f"input_range is ({low}, {high})", hint="state the smallest and the largest input of the network")
    images = torch.cat([flat_images(run.size), noise_images(6, run.size)])
    with torch.inference_mode():
        prepared = run.backbone.prepare(images)
    demand(prepared.dtype == torch.float32, f"prepare() gives {prepared.dtype}", hint="give float32")
    shaped = prepared.ndim == 4 and len(prepared) == len(images)
    demand(shaped, f"prepare() gives shape {tuple(prepared.shape)}", hint="give (B, C, H, W), one row per image")
    least, most = float(prepared.min()), float(prepared.max())
    demand(
        low - _ROUNDING <= least and most <= high + _ROUNDING,
        f"prepare() gives values from {least:.4g} to {most:.4g}, outside of input_range ({low:.4g}, {high:.4g})",
        hint="correct the normalisation in prepare(), or state the range the network was trained with",
    )


@backbone_check
def fingerprint_is_stable(build: Build[Backbone]) -> None:
    """fingerprint() is a SHA-256 in hexadecimal, the same for two builds and after an extraction."""
    run, again = setup(build), setup(build)
    first = run.backbone.fingerprint()
    is_sha256 = bool(re.fullmatch(r"[0-9a-f]{64}", first))
    demand(is_sha256, f"fingerprint() is {first!r}", hint="give 64 hexadecimal digits, such as sha256(...).hexdigest()")
    hint = "hash weights, architecture and preprocessing, and nothing that differs between runs"
    demand(first == again.backbone.fingerprint(), "two builds have different fingerprints", hint=hint)
    run.features(run.batch(2))
    demand(first == run.backbone.fingerprint(), "fingerprint() changes after extract()", hint=hint)
