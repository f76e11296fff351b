"""Checks of fine-tuning: the trainable network of a backbone, and the probes that train it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from probebench.api import (
    Backbone,
    Batch,
    FinetunableNetwork,
    FinetuningProbe,
    InputImages,
    Point,
    ProbebenchWarning,
    UsageError,
)
from probebench.stats.metrics import top1
from probebench.testing.checks.backbone import backbone_check
from probebench.testing.checks.contract import Build, CheckList, NotApplicableError, require
from probebench.testing.fakes import ToyBackbone, ToySplit
from probebench.testing.samples import build_backbone, require_same_rows
from probebench.testing.side_effects import require_no_global_random_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench.api import Trial

finetuning_check = CheckList("finetuning-probe")

_POINT = Point("late", "clean", "gap")


@backbone_check
def trainable_matches_extract(build: Build[Backbone]) -> None:
    """The network of trainable(), in eval mode, maps inputs() to the features of extract(), with gradients."""
    built = build_backbone(build)
    batch, points = built.batch(3), [built.points[0], built.points[-1]]
    expected = built.features(batch, points)
    for point in points:
        try:
            network = built.backbone.trainable(point)
        except UsageError as reason:
            raise NotApplicableError(reason.what) from reason
        fixed = [name for name, weight in network.named_parameters() if not weight.requires_grad]
        require(
            network.training and not fixed,
            "the network of trainable() is not in train mode, or has frozen weights",
            hint="call .requires_grad_(True).train()",
        )
        inputs = built.backbone.inputs(batch, point.level, seed=0)
        got = network.eval()(inputs.clone())
        require(got.requires_grad, f"{point} has no gradient", hint="use no detach() and no no_grad()")
        require_same_rows(
            got.detach(),
            expected[point],
            f"{point} of trainable()",
            hint="use the same tap, level, noise and pool as extract()",
        )


def _images(count: int, *, first: int = 0) -> InputImages:
    split, backbone = ToySplit("train", first + count), ToyBackbone()

    def inputs(rows: Tensor, epoch: int | None) -> Tensor:
        del epoch
        images = torch.stack([split.image(first + int(row)) for row in rows])
        return backbone.inputs(Batch(images, rows + first, "toy/train"), "clean", seed=0)

    return InputImages((torch.arange(count) + first) % 3, 3, inputs)


def _finetunable() -> FinetunableNetwork:
    return FinetunableNetwork(lambda: ToyBackbone().trainable(_POINT), 8)


def _trained(probe: FinetuningProbe) -> tuple[Sequence[Trial], Tensor]:
    """Returns all trials, and scores of val from the first setting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)
        train, val = _images(24), _images(9, first=24)
        trials = probe.search(_finetunable(), train, val, metric=top1, seed=0)
        require(bool(trials), "search() returns no trial", hint="return one trial for each setting")
        return trials, probe.fit(_finetunable(), train, trials[0].params, seed=0).scores(val)


@finetuning_check
def trainings_are_usable(build: Build[FinetuningProbe]) -> None:
    """search() returns trials with values from 0 to 1, and scores() returns (N, C) without NaN."""
    trials, scores = _trained(build())
    wrong = [trial.value for trial in trials if not 0 <= trial.value <= 1]
    require(not wrong, f"a trial has the value {wrong[:1]}", hint="return the metric on val")
    fine = tuple(scores.shape) == (9, 3) and not bool(scores.isnan().any())
    require(
        fine,
        f"scores of 9 images and 3 classes have the shape {tuple(scores.shape)}, or contain NaN",
        hint="return (N, C)",
    )


@finetuning_check
def one_seed_gives_one_result(build: Build[FinetuningProbe]) -> None:
    """Trials and scores depend on images, options and seed, and not on the global random state."""
    require_no_global_random_state(
        lambda: _trained(build()),
        lambda one, other: (
            [trial.value for trial in one[0]] == [trial.value for trial in other[0]] and torch.equal(one[1], other[1])
        ),
    )


@finetuning_check
def other_test_images_do_not_matter(build: Build[FinetuningProbe]) -> None:
    """The scores of an image do not depend on the other images that are scored with it."""
    probe = build()
    params = probe.search(_finetunable(), _images(24), _images(9, first=24), metric=top1, seed=0)[0].params
    finetuned = probe.fit(_finetunable(), _images(24), params, seed=0)
    together, alone = finetuned.scores(_images(9, first=24)), finetuned.scores(_images(1, first=24))
    close = torch.allclose(together[:1], alone, rtol=1e-4, atol=1e-4)
    require(close, "scores of an image change with the other images", hint="call network.eval() before scoring")
