"""The images of a training: which are trained on, and which are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch

from probebench.api import UsageError
from probebench_ddpm.training import randomness

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Split, TrainingJob
    from probebench_ddpm.options import DDPMRecipe


class Images(NamedTuple):
    """uint8 ``(N, 3, H, W)`` each.

    Attributes:
        train: What is trained on.
        measured: Some of them as ``train``, and as ``val`` some that are not trained on, where there are any.
    """

    train: Tensor
    measured: dict[str, Tensor]


def side(job: TrainingJob) -> int:
    """Height and width of the images, by the first one.

    Raises:
        UsageError: They do not fit the network.
    """
    height, width = job.images.image(0).shape[-2:]
    if height != width or width % 8:
        raise UsageError(
            f"images of {height}x{width} do not fit a U-Net of four levels",
            where=job.dataset,
            hint="square images whose side is a multiple of 8",
        )
    return int(width)


def load(job: TrainingJob, count: int) -> Images:
    """Reads all that is trained on; labels stay unread.

    Args:
        job: The training.
        count: Images of a set that are measured, at most. They are the same in all trainings on the dataset.

    Raises:
        UsageError: None is left to train on.
    """
    held, total = cast("DDPMRecipe", job.recipe).holdout, len(job.images)
    if held >= total:
        raise UsageError(
            f"holdout={held} leaves none of {total} images", where=f"recipe of ddpm on {job.dataset}", hint="fewer"
        )
    order = randomness.shuffled(total, "holdout")
    train = _read(job.images, order[held:].sort().values.tolist())
    measured = {"train": train[randomness.shuffled(len(train), "measured")[:count]]}
    if held:
        measured["val"] = _read(job.images, order[: min(held, count)].tolist())
    elif job.val is not None:
        measured["val"] = _read(job.val, randomness.shuffled(len(job.val), "measured")[:count].tolist())
    return Images(train, measured)


def _read(split: Split, places: list[int]) -> Tensor:
    images = torch.empty((len(places), *split.image(places[0]).shape), dtype=torch.uint8)
    for row, place in enumerate(places):
        images[row] = split.image(place)  # one by one: a list of them would need the memory twice
    return images
