"""Generates images from noise, by DDPM or DDIM.

diffusers' schedulers compute the steps, with the clipping that their pipelines have. The noise is sampled here, for
each image and step from its own seed, in fp32 on the CPU, so that an image does not depend on its batch.
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
    """Generates the job's images.

    Args:
        job: The job; its backbone is a `DDPM`.

    Yields:
        Numbers of the images in a batch, and the images as uint8 ``(B, 3, H, W)``.

    Raises:
        UsageError: The steps do not fit the schedule, or the network predicts more channels than an image has.
        FeatureError: An image is not finite.
    """
    backbone, options = cast("DDPM", job.backbone), cast("DDPMSampling", job.options)
    scheduler, scale = make_scheduler(backbone.scheduler, options), backbone.input_range[1]
    if scale != 1:  # the predicted image is clipped to the network's own input range
        scheduler.register_to_config(clip_sample_range=scale)
    backbone.move_to(job.device, job.precision)
    for start in range(0, len(job.index), job.batch_size):
        index = job.index[start : start + job.batch_size]
        images = generate(
            backbone.predict,
            scheduler,
            index,
            (3, *backbone.image_size),
            seed=job.seed,
            device=job.device,
            eta=options.eta,
            on_step=partial(job.progress, len(index) / options.steps),
        )
        yield index, to_uint8(images / scale)


def generate(
    predict: Callable[[Tensor, int], Tensor],
    scheduler: DDIMScheduler | DDPMScheduler,
    index: Sequence[int],
    shape: tuple[int, int, int],
    *,
    seed: int,
    device: str,
    eta: float = 0.0,
    on_step: Callable[[], None] = lambda: None,
) -> Tensor:
    """Generates a batch of images.

    Args:
        predict: The network: ``predict(images, t)`` returns its prediction.
        scheduler: The scheduler, with its time steps set.
        index: Numbers of the images; together with the seed they determine the noise.
        shape: Shape of one image.
        seed: Seed of all noise.
        device: Device of the network.
        eta: Share of DDPM's noise that DDIM adds in each step, 0 to 1.
        on_step: Called after every step.

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
                f"the network predicts {predicted.shape[1]} channels, images have {shape[0]}",
                where="ddpm",
                hint="use a checkpoint without learned variance (out_channels 3 in config.json)",
            )
        if ancestral or eta:  # seeding takes time, and only steps that add noise need it
            _seed(generators, seed, index, t)
        extra = {} if ancestral else {"eta": eta}
        images = scheduler.step(predicted, t, images, generator=generators, **extra).prev_sample
        on_step()
    bad = [number for number, image in zip(index, images, strict=True) if not bool(image.isfinite().all())]
    if bad:
        raise FeatureError(
            f"generated image {bad[0]} is not finite", where="ddpm", hint="--precision fp32, or an earlier checkpoint"
        )
    return images


def to_uint8(images: Tensor) -> Tensor:
    """Converts -1..1 to uint8: the inverse of `to_input`, with rounding and clipping."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _seed(generators: Sequence[torch.Generator], seed: int, index: Sequence[int], step: int | str) -> None:
    for generator, number in zip(generators, index, strict=True):
        generator.manual_seed(hash63("sample", seed, int(number), step))
