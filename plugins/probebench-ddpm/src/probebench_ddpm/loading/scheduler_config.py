"""The forward process that a checkpoint's ``scheduler_config.json`` describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import DDPMScheduler

from probebench.api import UsageError
from probebench_ddpm.loading.model_config import SAVED, build, read_json

if TYPE_CHECKING:
    from pathlib import Path


def schedule(path: Path) -> DDPMScheduler:
    """The forward process that a scheduler's config describes. The sampler it was saved for makes no difference.

    Raises:
        UsageError: The file is missing, leaves out the noise, or describes another process.
    """
    if not path.is_file():
        raise UsageError(
            "scheduler_config.json is missing: nothing tells how much noise a step adds",
            where=str(path.parent),
            hint="copy it there; DDPMScheduler().save_pretrained(FOLDER) writes the linear one of Ho et al. 2020",
        )
    config = read_json(path)
    kind = config.get("_class_name", "DDPMScheduler")
    compatible = {scheduler.__name__ for scheduler in DDPMScheduler().compatibles} - {"EDMEulerScheduler"}
    if kind not in compatible:
        raise UsageError(
            f"{kind} does not describe a forward process in steps of beta",
            where=str(path),
            hint="DDPMScheduler, DDIMScheduler, or another one that diffusers holds compatible with them",
        )
    _check_schedule(config, path)
    made = build(path, config, DDPMScheduler.from_config)
    if len(made.betas) != made.config.num_train_timesteps:
        raise UsageError(
            f"trained_betas has {len(made.betas)} steps, num_train_timesteps is {made.config.num_train_timesteps}",
            where=str(path),
        )
    # diffusers rounds nothing and checks nothing: a beta of 2 would give features of NaN.
    if not bool(((made.betas > 0) & (made.betas <= 1)).all()):
        raise UsageError("the schedule has a beta that is not between 0 and 1", where=str(path))
    return made


def _check_schedule(config: dict[str, Any], path: Path) -> None:
    needed = ["num_train_timesteps"]
    if config.get("trained_betas") is None:
        needed.append("beta_schedule")
        if config.get("beta_schedule") != "squaredcos_cap_v2":
            needed += ["beta_start", "beta_end"]
    if left_out := [name for name in needed if config.get(name) is None]:
        raise UsageError(
            f"scheduler_config.json does not say {', '.join(left_out)}", where=str(path.parent), hint=SAVED
        )
    # Before diffusers 0.9 there was no such field, and every network predicted the noise.
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise UsageError(
            f"prediction_type {prediction!r} is none of epsilon, v_prediction, sample", where=str(path.parent)
        )
