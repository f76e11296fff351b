"""What a backbone does: the laws of `Backbone.extract`."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from probebench.api import Backbone, Batch, Point, UsageError
from probebench.testing.checks.backbone import backbone_check
from probebench.testing.checks.contract import Build, NotApplicableError, demand
from probebench.testing.samples import SOURCE, TOLERANCE, Setup, flat_images, noise_images, same_rows, setup, take
from probebench.testing.side_effects import hooks, modules, sabotage, weights, without_random_state

_BATCH = 7


def _equal(first: dict[Point, Tensor], second: dict[Point, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[point], second[point]) for point in first)


def _same(got: dict[Point, Tensor], expected: dict[Point, Tensor], what: str, *, hint: str) -> None:
    for point in got:
        same_rows(got[point], expected[point], f"{point} {what}", hint=hint)


@backbone_check
def asked_points_come_back(build: Build[Backbone]) -> None:
    """extract() gives exactly the points that were asked for, each float32 (B, D)."""
    run = setup(build)
    for asked in (run.points, run.points[:1], run.points[-1:]):
        features = run.features(run.batch(3), asked)
        demand(
            features.keys() == set(asked),
            f"asked for {len(asked)} points, got {sorted(map(str, features))[:5]}",
            hint="give one entry per asked point, and no other",
        )
        for point, vectors in features.items():
            fine = vectors.dtype == torch.float32 and vectors.ndim == 2 and len(vectors) == 3
            demand(
                fine,
                f"{point} of 3 images is {vectors.dtype} {tuple(vectors.shape)}",
                hint="give float32 (B, D); api.pool_map does",
            )


@backbone_check
def features_are_finite(build: Build[Backbone]) -> None:
    """Features of black, white and random images hold no NaN and no infinity."""
    run = setup(build)
    images = torch.cat([flat_images(run.size), noise_images(3, run.size)])
    for point, vectors in run.features(Batch(images, torch.arange(len(images)), SOURCE)).items():
        bad = (~vectors.isfinite().all(1)).nonzero().flatten().tolist()
        demand(
            not bad,
            f"{point} is not finite for images {bad} of black, white and three random ones",
            hint="look for a division by zero, or for a normalisation without epsilon",
        )


@backbone_check
def batch_size_does_not_matter(build: Build[Backbone]) -> None:
    """Images have the same features in batches of 1, 2 and 7."""
    run = setup(build)
    batch = run.batch(_BATCH)
    expected = run.features(batch)
    for size in (1, 2):
        parts = [run.features(take(batch, rows)) for rows in torch.arange(_BATCH).chunk(math.ceil(_BATCH / size))]
        got = {point: torch.cat([part[point] for part in parts]) for point in expected}
        _same(
            got,
            expected,
            f"changes between batches of {size} and of {_BATCH}",
            hint="draw noise per image (api.normal), use no statistics of the batch, and set eval mode",
        )


@backbone_check
def order_does_not_matter(build: Build[Backbone]) -> None:
    """Images have the same features in any order."""
    run = setup(build)
    batch = run.batch(_BATCH)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    got = run.features(take(batch, order))
    expected = {point: vectors[order] for point, vectors in run.features(batch).items()}
    hint = "seed noise with Batch.index, not with the place in the batch"
    _same(got, expected, "changes with the order of the images", hint=hint)


@backbone_check
def other_points_do_not_matter(build: Build[Backbone]) -> None:
    """A point has the same features when it is asked for alone."""
    run = setup(build)
    batch = run.batch(2)
    expected = run.features(batch)
    alone = [point for point in run.points if run.levels[0].id == point.level or run.taps[-1].id == point.tap]
    for point in alone:
        hint = "draw noise once per image and level, and keep taps from changing what later layers see"
        _same(run.features(batch, [point]), expected, "changes when it is asked for alone", hint=hint)


@backbone_check
def repeated_calls_agree(build: Build[Backbone]) -> None:
    """Two calls with one seed give identical features, whatever was extracted in between."""
    run = setup(build)
    first = run.features(run.batch(3), seed=5)
    run.features(run.batch(4, seed=1), seed=6)
    hint = "seed noise with api.normal, switch dropout off, and keep no state between calls"
    demand(_equal(first, run.features(run.batch(3), seed=5)), "a second call gives other features", hint=hint)


@backbone_check
def builds_agree(build: Build[Backbone]) -> None:
    """Two builds give identical features."""
    first, second = setup(build), setup(build)
    demand(
        _equal(first.features(first.batch(3)), second.features(second.batch(3))),
        "a second build gives other features",
        hint="seed random weights with a local generator, and load all weights of a checkpoint (strict=True)",
    )


@backbone_check
def images_are_told_apart(build: Build[Backbone]) -> None:
    """At the first level, every default tap gives different images different features."""
    run = setup(build)
    # One index for all rows: equal noise, so that a difference can only come from the images.
    batch = Batch(noise_images(4, run.size), torch.zeros(4, dtype=torch.int64), SOURCE)
    defaults = {tap.id for tap in run.taps if tap.default}
    asked = [point for point in run.points if point.level == run.levels[0].id and point.tap in defaults]
    for point, vectors in run.features(batch, asked).items():
        apart = (vectors - vectors[:1]).norm(dim=1)[1:].min()
        demand(
            bool(apart > TOLERANCE * vectors.norm(dim=1).max()),
            f"{point} is the same for different images",
            hint="check that the tap reads this forward pass, and that the weights are loaded",
        )


@backbone_check
def inputs_are_not_modified(build: Build[Backbone]) -> None:
    """prepare() and extract() leave the images and their index as they were."""
    run = setup(build)
    batch = run.batch(3)
    images, index = batch.images.clone(), batch.index.clone()
    with torch.inference_mode():
        run.backbone.prepare(batch.images)
    hint = "write to no tensor of the caller: no in-place operation before the first copy"
    demand(torch.equal(batch.images, images), "prepare() writes to the images", hint=hint)
    run.features(batch)
    demand(torch.equal(batch.images, images), "extract() writes to the images", hint=hint)
    demand(torch.equal(batch.index, index), "extract() writes to the index", hint=hint)


@backbone_check
def no_gradient_is_kept(build: Build[Backbone]) -> None:
    """Features carry no gradient even where gradients are on, and extract() does not switch them."""
    run = setup(build)
    with torch.enable_grad():
        features = run.backbone.extract(run.batch(2), run.points, seed=0)
        demand(torch.is_grad_enabled(), "gradients are off after extract()", hint="use `with torch.no_grad():`")
    kept = [str(point) for point, vectors in features.items() if vectors.requires_grad]
    demand(not kept, f"{kept[:3]} carry a gradient", hint="put @torch.inference_mode() on extract()")


@backbone_check
def weights_do_not_change(build: Build[Backbone]) -> None:
    """Extraction leaves the fingerprint, every parameter and every buffer as they were."""
    run = setup(build)
    fingerprint, before = run.backbone.fingerprint(), weights(run.backbone)
    run.features(run.batch(_BATCH))
    after = weights(run.backbone)
    changed = [name for name, value in before.items() if after.get(name) != value]
    hint = "call .eval(): running statistics of batch normalisation change in train mode"
    demand(not changed, f"{changed[:3]} changed during extract()", hint=hint)
    demand(run.backbone.fingerprint() == fingerprint, "the fingerprint changed during extract()", hint=hint)


@backbone_check
def network_is_in_eval_mode(build: Build[Backbone]) -> None:
    """No module is in train mode, before and after an extraction."""
    run = setup(build)
    if not modules(run.backbone):
        raise NotApplicableError("the backbone holds no torch module")
    for when in ("after the build", "after extract()"):
        training = [
            type(part).__name__ for module in modules(run.backbone) for part in module.modules() if part.training
        ]
        demand(not training, f"{sorted(set(training))[:3]} in train mode {when}", hint="call .eval() on the network")
        run.features(run.batch(2))


@backbone_check
def random_state_is_untouched(build: Build[Backbone]) -> None:
    """Building and extracting neither change nor read the global random state of torch, numpy or random."""

    def work() -> dict[Point, Tensor]:
        run = setup(build)
        return run.features(run.batch(2))

    without_random_state(work, _equal)


@backbone_check
def failed_call_leaves_no_trace(build: Build[Backbone]) -> None:
    """After a call that fails half-way the hooks are gone and the features are the same."""
    run = setup(build)
    batch = run.batch(3)
    expected, attached = run.features(batch), hooks(run.backbone)
    other = run.batch(3, seed=1)
    _call_and_fail(run, replace(other, images=other.images[:, :1]))
    with sabotage(run.backbone, lambda: run.features(other)):
        _call_and_fail(run, other)
    hint = "remove hooks in a `finally` block, and keep nothing of a forward pass in self"
    left = hooks(run.backbone) - attached
    demand(left <= 0, f"{left} hooks are left after a failed call", hint=hint)
    _same(run.features(batch), expected, "changes after a failed call", hint=hint)


def _call_and_fail(run: Setup, batch: Batch) -> None:
    with suppress(Exception):  # any failure will do: what it leaves behind is checked
        run.features(batch)


@backbone_check
def bf16_gives_float32(build: Build[Backbone]) -> None:
    """A backbone placed in bf16 gives finite float32 features of the same shape."""
    run = setup(build)
    shapes = {point: vectors.shape for point, vectors in run.features(run.batch(2)).items()}
    fresh = build()
    try:
        fresh.move_to("cpu", "bf16")
    except UsageError as error:
        raise NotApplicableError(f"the backbone refuses bf16: {error.what}") from error
    for point, vectors in replace(run, backbone=fresh).features(run.batch(2)).items():
        demand(
            vectors.dtype == torch.float32 and vectors.shape == shapes[point],
            f"{point} in bf16 is {vectors.dtype} {tuple(vectors.shape)}, not float32 {tuple(shapes[point])}",
            hint="pool in float32; api.pool_map does",
        )
        hint = "refuse bf16 in place() with api.UsageError, or keep the part that overflows in fp32"
        demand(bool(vectors.isfinite().all()), f"{point} in bf16 is not finite", hint=hint)
