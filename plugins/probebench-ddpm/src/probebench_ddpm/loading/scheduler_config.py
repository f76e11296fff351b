"""Reads the forward process that the ``scheduler_config.json`` of a checkpoint describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import DDPMScheduler

from probebench.api import UsageError
from probebench_ddpm.loading.model_config import SAVED_HINT, build, read_json

if TYPE_CHECKING:
    from pathlib import Path


def load_scheduler(path: Path) -> DDPMScheduler:
    """Loads a forward process. Which sampler the config was saved for makes no difference.

    Raises:
        UsageError: The file is missing, lacks the noise schedule, or describes another process.
    """
    if not path.is_file():
        raise UsageError(
            "scheduler_config.json is missing, so the amount of noise at a step is unknown",
            where=str(path.parent),
            hint="copy it there; DDPMScheduler().save_pretrained(FOLDER) writes the linear schedule of Ho et al. 2020",
        )
    config = read_json(path)
    kind = config.get("_class_name", "DDPMScheduler")
    compatible = {scheduler.__name__ for scheduler in DDPMScheduler().compatibles} - {"EDMEulerScheduler"}
    if kind not in compatible:
        raise UsageError(
            f"{kind} does not describe a forward process in steps of beta",
            where=str(path),
            hint="use a checkpoint with a DDPMScheduler, a DDIMScheduler or one that diffusers lists as compatible",
        )
    _check_fields(config, path)
    scheduler = build(path, config, DDPMScheduler.from_config)
    if len(scheduler.betas) != scheduler.config.num_train_timesteps:
        raise UsageError(
            f"trained_betas has {len(scheduler.betas)} steps, "
            f"num_train_timesteps is {scheduler.config.num_train_timesteps}",
            where=str(path),
            hint=SAVED_HINT,
        )
    # diffusers does not check the values: a beta of 2 would give features of NaN.
    if not bool(((scheduler.betas > 0) & (scheduler.betas <= 1)).all()):
        raise UsageError("the schedule has a beta that is not between 0 and 1", where=str(path), hint=SAVED_HINT)
    return scheduler


def _check_fields(config: dict[str, Any], path: Path) -> None:
    required = ["num_train_timesteps"]
    if config.get("trained_betas") is None:
        required.append("beta_schedule")
        if config.get("beta_schedule") != "squaredcos_cap_v2":
            required += ["beta_start", "beta_end"]
    if missing := [name for name in required if config.get(name) is None]:
        raise UsageError(f"scheduler_config.json lacks {', '.join(missing)}", where=str(path.parent), hint=SAVED_HINT)
    # Before diffusers 0.9 this field did not exist, and every network predicted the noise.
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction", "sample"):
        raise UsageError(
            f"prediction_type {prediction!r} is not supported",
            where=str(path.parent),
            hint="use a network that predicts epsilon, v_prediction or sample",
        )
