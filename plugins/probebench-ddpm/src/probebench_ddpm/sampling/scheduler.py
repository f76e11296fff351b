"""The scheduler of diffusers that takes the denoising steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import DDIMScheduler, DDPMScheduler

from probebench.api import UsageError

if TYPE_CHECKING:
    from probebench_ddpm.options import DDPMSampling


def make_scheduler(trained: DDPMScheduler, options: DDPMSampling) -> DDIMScheduler | DDPMScheduler:
    """Returns a scheduler of diffusers with its time steps set.

    Betas, prediction type, clipping and thresholding are those of the checkpoint's config.

    Args:
        trained: The schedule that the network was trained on.
        options: Options of sampling.

    Raises:
        UsageError: The steps cannot be spaced evenly over the schedule's steps.
    """
    total = trained.config.num_train_timesteps
    if total % options.steps:
        # diffusers rounds: with leading spacing, 600 steps over 1000 would start at t = 599, where a sixth of the image
        # is left.
        raise UsageError(
            f"{options.steps} steps cannot be spaced evenly over the {total} steps of the schedule",
            where="option steps of ddpm's sampling",
            hint="steps=N, with N one of " + ", ".join(str(n) for n in range(1, total + 1) if total % n == 0),
        )
    changes: dict[str, Any] = {"timestep_spacing": options.spacing, "steps_offset": 0}
    if options.clip is not None:
        changes |= {"clip_sample": options.clip, "thresholding": False}
    if options.sampler == "ddim":
        scheduler = DDIMScheduler.from_config(trained.config, **changes)
    else:
        scheduler = DDPMScheduler.from_config(trained.config, variance_type=options.variance_type, **changes)
    scheduler.set_timesteps(options.steps)
    return scheduler
