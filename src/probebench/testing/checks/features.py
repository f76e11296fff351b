"""Checks of `Backbone.extract`."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from probebench.api import Backbone, Batch, Point, UsageError
from probebench.testing.checks.backbone import backbone_check
from probebench.testing.checks.contract import Build, NotApplicableError, require
from probebench.testing.samples import (
    SOURCE,
    TOLERANCE,
    BuiltBackbone,
    build_backbone,
    flat_images,
    noise_images,
    require_same_rows,
    select_rows,
)
from probebench.testing.side_effects import failing_forward, hooks, modules, require_no_global_random_state, weights

_BATCH = 7


def _equal(first: dict[Point, Tensor], second: dict[Point, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[point], second[point]) for point in first)


def _same(got: dict[Point, Tensor], expected: dict[Point, Tensor], what: str, *, hint: str) -> None:
    for point in got:
        require_same_rows(got[point], expected[point], f"{point} {what}", hint=hint)


@backbone_check
def requested_points_are_returned(build: Build[Backbone]) -> None:
    """extract() returns exactly the requested points, each float32 (B, D)."""
    built = build_backbone(build)
    for requested in (built.points, built.points[:1], built.points[-1:]):
        features = built.features(built.batch(3), requested)
        require(
            features.keys() == set(requested),
            f"{len(requested)} points were requested, and extract() returns {sorted(map(str, features))[:5]}",
            hint="return one entry for each requested point, and no other",
        )
        for point, vectors in features.items():
            fine = vectors.dtype == torch.float32 and vectors.ndim == 2 and len(vectors) == 3
            require(
                fine,
                f"{point} of 3 images is {vectors.dtype} {tuple(vectors.shape)}",
                hint="return float32 (B, D); api.pool_map does",
            )


@backbone_check
def features_are_finite(build: Build[Backbone]) -> None:
    """Features of black, white and random images contain no NaN and no infinity."""
    built = build_backbone(build)
    images = torch.cat([flat_images(built.size), noise_images(3, built.size)])
    for point, vectors in built.features(Batch(images, torch.arange(len(images)), SOURCE)).items():
        bad = (~vectors.isfinite().all(1)).nonzero().flatten().tolist()
        require(
            not bad,
            f"{point} is not finite for images {bad} of a black, a white and three random images",
            hint="avoid division by zero, for example with an epsilon in the normalisation",
        )


@backbone_check
def batch_size_does_not_matter(build: Build[Backbone]) -> None:
    """Images have the same features in batches of 1, 2 and 7."""
    built = build_backbone(build)
    batch = built.batch(_BATCH)
    expected = built.features(batch)
    for size in (1, 2):
        parts = [
            built.features(select_rows(batch, rows)) for rows in torch.arange(_BATCH).chunk(math.ceil(_BATCH / size))
        ]
        got = {point: torch.cat([part[point] for part in parts]) for point in expected}
        _same(
            got,
            expected,
            f"changes between batches of {size} and of {_BATCH}",
            hint="generate noise for each image (api.normal), use no batch statistics, and set eval mode",
        )


@backbone_check
def order_does_not_matter(build: Build[Backbone]) -> None:
    """Images have the same features in any order."""
    built = build_backbone(build)
    batch = built.batch(_BATCH)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    got = built.features(select_rows(batch, order))
    expected = {point: vectors[order] for point, vectors in built.features(batch).items()}
    hint = "seed noise with Batch.index, not with the position in the batch"
    _same(got, expected, "changes with the order of the images", hint=hint)


@backbone_check
def other_points_do_not_matter(build: Build[Backbone]) -> None:
    """A point has the same features if it is requested alone."""
    built = build_backbone(build)
    batch = built.batch(2)
    expected = built.features(batch)
    alone = [point for point in built.points if built.levels[0].id == point.level or built.taps[-1].id == point.tap]
    for point in alone:
        hint = "generate noise once for each image and level, and do not change feature maps in place"
        _same(built.features(batch, [point]), expected, "changes if it is requested alone", hint=hint)


@backbone_check
def repeated_calls_agree(build: Build[Backbone]) -> None:
    """Two calls with one seed return identical features, with any extraction between them."""
    built = build_backbone(build)
    first = built.features(built.batch(3), seed=5)
    built.features(built.batch(4, seed=1), seed=6)
    hint = "seed noise with api.normal, disable dropout, and keep no state between calls"
    require(_equal(first, built.features(built.batch(3), seed=5)), "a second call returns other features", hint=hint)


@backbone_check
def builds_agree(build: Build[Backbone]) -> None:
    """Two builds have identical features."""
    first, second = build_backbone(build), build_backbone(build)
    require(
        _equal(first.features(first.batch(3)), second.features(second.batch(3))),
        "a second build has other features",
        hint="seed random weights with a local generator, and load all weights of a checkpoint (strict=True)",
    )


@backbone_check
def images_have_different_features(build: Build[Backbone]) -> None:
    """At the first level, different images have different features at every default tap."""
    built = build_backbone(build)
    # One index for all rows, so equal noise: a difference can only come from the images.
    batch = Batch(noise_images(4, built.size), torch.zeros(4, dtype=torch.int64), SOURCE)
    defaults = {tap.id for tap in built.taps if tap.default}
    requested = [point for point in built.points if point.level == built.levels[0].id and point.tap in defaults]
    for point, vectors in built.features(batch, requested).items():
        distance = (vectors - vectors[:1]).norm(dim=1)[1:].min()
        require(
            bool(distance > TOLERANCE * vectors.norm(dim=1).max()),
            f"{point} is the same for different images",
            hint="check that the tap reads the current forward pass, and that the weights are loaded",
        )


@backbone_check
def inputs_are_not_modified(build: Build[Backbone]) -> None:
    """prepare() and extract() do not change the images and their index."""
    built = build_backbone(build)
    batch = built.batch(3)
    images, index = batch.images.clone(), batch.index.clone()
    with torch.inference_mode():
        built.backbone.prepare(batch.images)
    hint = "use no in-place operation on the arguments"
    require(torch.equal(batch.images, images), "prepare() changes the images", hint=hint)
    built.features(batch)
    require(torch.equal(batch.images, images), "extract() changes the images", hint=hint)
    require(torch.equal(batch.index, index), "extract() changes the index", hint=hint)


@backbone_check
def no_gradient_is_kept(build: Build[Backbone]) -> None:
    """Features have no gradient, even if gradients are enabled, and extract() does not disable them."""
    built = build_backbone(build)
    with torch.enable_grad():
        features = built.backbone.extract(built.batch(2), built.points, seed=0)
        require(torch.is_grad_enabled(), "gradients are disabled after extract()", hint="use `with torch.no_grad():`")
    kept = [str(point) for point, vectors in features.items() if vectors.requires_grad]
    require(not kept, f"{kept[:3]} have a gradient", hint="decorate extract() with @torch.inference_mode()")


@backbone_check
def weights_do_not_change(build: Build[Backbone]) -> None:
    """Extraction does not change the fingerprint, parameters and buffers."""
    built = build_backbone(build)
    fingerprint, before = built.backbone.fingerprint(), weights(built.backbone)
    built.features(built.batch(_BATCH))
    after = weights(built.backbone)
    changed = [name for name, value in before.items() if after.get(name) != value]
    hint = "call .eval(), because the running statistics of batch normalisation change in train mode"
    require(not changed, f"{changed[:3]} changed during extract()", hint=hint)
    require(built.backbone.fingerprint() == fingerprint, "the fingerprint changed during extract()", hint=hint)


@backbone_check
def network_is_in_eval_mode(build: Build[Backbone]) -> None:
    """No module is in train mode, before and after an extraction."""
    built = build_backbone(build)
    if not modules(built.backbone):
        raise NotApplicableError("the backbone has no torch module")
    for when in ("after the build", "after extract()"):
        training = [
            type(part).__name__ for module in modules(built.backbone) for part in module.modules() if part.training
        ]
        require(not training, f"{sorted(set(training))[:3]} in train mode {when}", hint="call .eval() on the network")
        built.features(built.batch(2))


@backbone_check
def random_state_is_untouched(build: Build[Backbone]) -> None:
    """Building and extracting neither change nor read the global random state of torch, numpy or random."""

    def work() -> dict[Point, Tensor]:
        built = build_backbone(build)
        return built.features(built.batch(2))

    require_no_global_random_state(work, _equal)


@backbone_check
def failed_call_changes_nothing(build: Build[Backbone]) -> None:
    """After a call that raises an error, no hooks are left and the features are the same."""
    built = build_backbone(build)
    batch = built.batch(3)
    expected, attached = built.features(batch), hooks(built.backbone)
    other = built.batch(3, seed=1)
    _call_and_fail(built, replace(other, images=other.images[:, :1]))
    with failing_forward(built.backbone, lambda: built.features(other)):
        _call_and_fail(built, other)
    hint = "remove hooks in a `finally` block, and keep nothing of a forward pass in self"
    left = hooks(built.backbone) - attached
    require(left <= 0, f"{left} hooks are left after a failed call", hint=hint)
    _same(built.features(batch), expected, "changes after a failed call", hint=hint)


def _call_and_fail(built: BuiltBackbone, batch: Batch) -> None:
    with suppress(Exception):  # any error will do, because the state after it is checked
        built.features(batch)


@backbone_check
def bf16_gives_float32(build: Build[Backbone]) -> None:
    """In bf16, a backbone returns finite float32 features of the same shape."""
    built = build_backbone(build)
    shapes = {point: vectors.shape for point, vectors in built.features(built.batch(2)).items()}
    fresh = build()
    try:
        fresh.move_to("cpu", "bf16")
    except UsageError as error:
        raise NotApplicableError(f"the backbone does not support bf16: {error.what}") from error
    for point, vectors in replace(built, backbone=fresh).features(built.batch(2)).items():
        require(
            vectors.dtype == torch.float32 and vectors.shape == shapes[point],
            f"{point} in bf16 is {vectors.dtype} {tuple(vectors.shape)}, not float32 {tuple(shapes[point])}",
            hint="pool in float32; api.pool_map does",
        )
        hint = "raise api.UsageError for bf16 in move_to(), or keep the part that overflows in fp32"
        require(bool(vectors.isfinite().all()), f"{point} in bf16 is not finite", hint=hint)
