"""The laws of training a backbone: what it hands over to be trained, and what a probe that trains it gives back."""

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
from probebench.testing.checks.contract import Build, CheckList, NotApplicableError, demand
from probebench.testing.fakes import ToyBackbone, ToySplit
from probebench.testing.samples import same_rows, setup
from probebench.testing.side_effects import without_random_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench.api import Trial

finetuning_check = CheckList("finetuning-probe")

_POINT = Point("late", "clean", "gap")


@backbone_check
def trainable_gives_what_extract_gives(build: Build[Backbone]) -> None:
    """The network of trainable(), in eval mode, maps inputs() to the features of extract(), with gradients."""
    run = setup(build)
    batch, points = run.batch(3), [run.points[0], run.points[-1]]
    expected = run.features(batch, points)
    for point in points:
        try:
            network = run.backbone.trainable(point)
        except UsageError as reason:
            raise NotApplicableError(reason.what) from reason
        fixed = [name for name, weight in network.named_parameters() if not weight.requires_grad]
        demand(network.training and not fixed, "trainable() is not ready", hint="requires_grad_(True).train()")
        inputs = run.backbone.inputs(batch, point.level, seed=0)
        got = network.eval()(inputs.clone())
        demand(got.requires_grad, f"{point} has no gradient", hint="no detach() and no no_grad() on the way")
        same_rows(got.detach(), expected[point], f"{point} of trainable()", hint="same tap, level, noise and pool")


def _images(count: int, *, first: int = 0) -> InputImages:
    split, backbone = ToySplit("train", first + count), ToyBackbone()

    def inputs(rows: Tensor, epoch: int | None) -> Tensor:
        del epoch
        images = torch.stack([split.image(first + int(row)) for row in rows])
        return backbone.inputs(Batch(images, rows + first, "toy/train"), "clean", seed=0)

    return InputImages((torch.arange(count) + first) % 3, 3, inputs)


def _tunable() -> FinetunableNetwork:
    return FinetunableNetwork(lambda: ToyBackbone().trainable(_POINT), 8)


def _trained(probe: FinetuningProbe) -> tuple[Sequence[Trial], Tensor]:
    """All trials, and what the first one, trained again, says of images that it has not seen."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProbebenchWarning)
        train, val = _images(24), _images(9, first=24)
        trials = probe.search(_tunable(), train, val, metric=top1, seed=0)
        demand(bool(trials), "search() gives no trial", hint="give one for each setting")
        return trials, probe.fit(_tunable(), train, trials[0].params, seed=0).scores(val)


@finetuning_check
def trainings_are_usable(build: Build[FinetuningProbe]) -> None:
    """search() gives trials with values from 0 to 1, and scores() a number for each image and class, and no NaN."""
    trials, scores = _trained(build())
    wrong = [trial.value for trial in trials if not 0 <= trial.value <= 1]
    demand(not wrong, f"a trial has the value {wrong[:1]}", hint="give what the metric gives for val")
    fine = tuple(scores.shape) == (9, 3) and not bool(scores.isnan().any())
    demand(fine, f"scores of 9 images and 3 classes are {tuple(scores.shape)} or NaN", hint="give (N, C)")


@finetuning_check
def a_seed_trains_the_same_again(build: Build[FinetuningProbe]) -> None:
    """Trials and scores are a function of images, options and seed, and of no random state."""
    without_random_state(
        lambda: _trained(build()),
        lambda one, other: (
            [trial.value for trial in one[0]] == [trial.value for trial in other[0]] and torch.equal(one[1], other[1])
        ),
    )


@finetuning_check
def an_image_is_scored_alone(build: Build[FinetuningProbe]) -> None:
    """An image's scores are the same whatever is scored beside it: what was trained is in eval mode."""
    probe = build()
    params = probe.search(_tunable(), _images(24), _images(9, first=24), metric=top1, seed=0)[0].params
    tuned = probe.fit(_tunable(), _images(24), params, seed=0)
    together, alone = tuned.scores(_images(9, first=24)), tuned.scores(_images(1, first=24))
    close = torch.allclose(together[:1], alone, rtol=1e-4, atol=1e-4)
    demand(close, "scores of an image change with those beside it", hint="network.eval() before it is scored")
