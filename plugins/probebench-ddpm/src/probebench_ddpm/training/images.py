"""The images of a training: those that are trained on, and those that the loss is measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch

from probebench.api import UsageError
from probebench_ddpm.training.randomness import fixed_order

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Split, TrainingJob
    from probebench_ddpm.options import DDPMRecipe


class TrainingImages(NamedTuple):
    """Images of a training, uint8 ``(N, 3, H, W)`` each.

    Attributes:
        train: Images to train on.
        measured: Images to measure the loss on, by name: ``train``, a part of those above, and ``val``, images that are
            not trained on, if there are any.
    """

    train: Tensor
    measured: dict[str, Tensor]


def image_side(job: TrainingJob) -> int:
    """Returns height and width of the images, which must be square, from the first one.

    Raises:
        UsageError: The images do not fit the network.
    """
    height, width = job.images.image(0).shape[-2:]
    if height != width or width % 8:
        raise UsageError(
            f"images of {height}x{width} do not fit a U-Net of four levels",
            where=job.dataset,
            hint="use square images whose side is a multiple of 8, such as image_size=32 on the dataset",
        )
    return int(width)


def load_images(job: TrainingJob, max_measured: int) -> TrainingImages:
    """Reads all images of a training; labels are not read.

    Args:
        job: The training.
        max_measured: Maximum number of images to measure the loss on, for each set. They are the same in all trainings
            on the dataset.

    Raises:
        UsageError: No image is left to train on.
    """
    holdout, total = cast("DDPMRecipe", job.recipe).holdout, len(job.images)
    if holdout >= total:
        raise UsageError(
            f"holdout={holdout} leaves none of the {total} train images to train on",
            where=f"recipe of ddpm on {job.dataset}",
            hint=f"--recipe holdout={total // 10}",
        )
    order = fixed_order(total, "holdout")
    train = _read(job.images, order[holdout:].sort().values.tolist())
    measured = {"train": train[fixed_order(len(train), "measured")[:max_measured]]}
    if holdout:
        measured["val"] = _read(job.images, order[: min(holdout, max_measured)].tolist())
    elif job.val is not None:
        measured["val"] = _read(job.val, fixed_order(len(job.val), "measured")[:max_measured].tolist())
    return TrainingImages(train, measured)


def _read(split: Split, index: list[int]) -> Tensor:
    images = torch.empty((len(index), *split.image(index[0]).shape), dtype=torch.uint8)
    for row, position in enumerate(index):
        images[row] = split.image(position)  # one by one: stacking a list would need twice the memory
    return images
