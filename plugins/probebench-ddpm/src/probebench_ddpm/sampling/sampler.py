"""Sampling: images from noise, by DDPM or DDIM.

The arithmetic of a step is that of diffusers' schedulers, with the clipping that their pipelines have. The noise is
ours: each image has its own in each step, drawn in fp32 on the CPU, so that an image does not depend on its batch.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor

from probebench.api import FeatureError, SamplingJob, UsageError, hash63
from probebench_ddpm.sampling.scheduler import make_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from probebench_ddpm.backbones.ddpm import DDPM
    from probebench_ddpm.options import DDPMSampling


def sample(job: SamplingJob) -> Iterator[tuple[Sequence[int], Tensor]]:
    """Draws the job's images.

    Args:
        job: With a `DDPM` as backbone.

    Yields:
        Numbers of images, and the images as uint8 ``(B, 3, H, W)``.

    Raises:
        UsageError: The steps do not fit the schedule, or the network predicts more than an image.
        FeatureError: An image is not finite.
    """
    backbone, options = cast("DDPM", job.backbone), cast("DDPMSampling", job.options)
    scheduler, scale = make_scheduler(backbone.scheduler, options), backbone.input_range[1]
    if scale != 1:  # what the network draws is clipped where black and white are to it
        scheduler.register_to_config(clip_sample_range=scale)
    backbone.place(job.device, job.precision)
    for start in range(0, len(job.index), job.batch_size):
        index = job.index[start : start + job.batch_size]
        drawn = draw(
            backbone.predict,
            scheduler,
            index,
            (3, *backbone.image_size),
            seed=job.seed,
            device=job.device,
            eta=options.eta,
            stepped=partial(job.progress, len(index) / options.steps),
        )
        yield index, to_image(drawn / scale)


def draw(
    predict: Callable[[Tensor, int], Tensor],
    scheduler: DDIMScheduler | DDPMScheduler,
    index: Sequence[int],
    shape: tuple[int, int, int],
    *,
    seed: int,
    device: str,
    eta: float = 0.0,
    stepped: Callable[[], None] = lambda: None,
) -> Tensor:
    """Draws a batch of images.

    Args:
        predict: The network: ``predict(images, t)`` is what it was trained to predict.
        scheduler: Its time steps are set.
        index: Numbers of the images. With the seed they give the noise.
        shape: Of one image.
        seed: Seed of all noise.
        device: Where the network's input is to be.
        eta: Of DDIM.
        stepped: Called after every step.

    Returns:
        float32 ``(len(index), *shape)`` on the device.

    Raises:
        UsageError: The network predicts more channels than an image has.
        FeatureError: An image is not finite.
    """
    generators = [torch.Generator() for _ in index]
    ancestral = isinstance(scheduler, DDPMScheduler)
    _seed(generators, seed, index, "start")
    images: Tensor = randn_tensor(
        (len(index), *shape), generator=generators, device=torch.device(device), dtype=torch.float32
    )
    for t in scheduler.timesteps.tolist():
        predicted = predict(images, t)
        if predicted.shape != images.shape:
            raise UsageError(
                f"the network predicts {predicted.shape[1]} channels for images of {shape[0]}",
                where="ddpm",
                hint="a network that does not predict the variance of a step",
            )
        if ancestral or eta:  # without noise there is no need for a thousand seeds
            _seed(generators, seed, index, t)
        extra = {} if ancestral else {"eta": eta}
        images = scheduler.step(predicted, t, images, generator=generators, **extra).prev_sample
        stepped()
    bad = [number for number, image in zip(index, images, strict=True) if not bool(image.isfinite().all())]
    if bad:
        raise FeatureError(
            f"image {bad[0]} is not finite", where="ddpm", hint="--precision fp32, or another checkpoint"
        )
    return images


def to_image(drawn: Tensor) -> Tensor:
    """What `to_input` makes of an image, made an image again: uint8, rounded, with what lies outside clipped."""
    return ((drawn + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _seed(generators: Sequence[torch.Generator], seed: int, index: Sequence[int], step: int | str) -> None:
    for generator, number in zip(generators, index, strict=True):
        generator.manual_seed(hash63("sample", seed, int(number), step))
