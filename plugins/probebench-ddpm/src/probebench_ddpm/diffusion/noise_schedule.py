"""The forward process: how much noise there is at step t.

``t`` is the training index, from 0 (least noise) to T - 1, as diffusers counts it. DDAE counts from 1, so its
t = 11 is our t = 10.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDPMScheduler

from probebench.api import Level, UsageError
from probebench_ddpm.options import STEPS

if TYPE_CHECKING:
    from torch import Tensor

    from probebench_ddpm.options import Prediction, Schedule


def linear_schedule() -> DDPMScheduler:
    """The schedule of Ho et al. 2020, section 4: beta from 1e-4 to 0.02 in 1000 linear steps, noise prediction."""
    return training_schedule("linear", "epsilon")


def training_schedule(schedule: Schedule, prediction: Prediction) -> DDPMScheduler:
    """The forward process of a new network, and what the network predicts of it.

    Args:
        schedule: ``linear`` of Ho et al. 2020, or ``cosine`` of Nichol & Dhariwal 2021 (arXiv 2102.09672, equation 17).
        prediction: ``epsilon``, the noise, or ``v`` of Salimans & Ho 2022.
    """
    return DDPMScheduler(
        num_train_timesteps=STEPS,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule],
        beta_start=1e-4,  # of the linear one; the cosine one has no use for them
        beta_end=0.02,
        prediction_type={"epsilon": "epsilon", "v": "v_prediction"}[prediction],
    )


def stated(scheduler: DDPMScheduler) -> dict[str, Any]:
    """The forward process as manifests state it."""
    config = scheduler.config
    ends = {"from": config.beta_start, "to": config.beta_end} if config.beta_schedule == "linear" else {}
    steps = {"steps": config.num_train_timesteps, "prediction": config.prediction_type}
    return {"beta": config.beta_schedule, **ends, **steps}


def alpha_bar(scheduler: DDPMScheduler) -> Tensor:
    """Share of the signal's variance that is left at each t: float64 ``(T,)``, falling."""
    return torch.cumprod(1 - scheduler.betas.double(), dim=0)


class NoiseSchedule:
    """alpha-bar in float64 and what follows from it."""

    def __init__(self, scheduler: DDPMScheduler) -> None:
        self._alpha_bar = alpha_bar(scheduler)

    def __len__(self) -> int:
        return len(self._alpha_bar)

    def level(self, t: int) -> Level:
        """Level ``t=...`` with sigma = sqrt((1 - abar) / abar).

        Raises:
            UsageError: The schedule ends in pure noise (zero terminal SNR), and t is its end.
        """
        share = float(self._alpha_bar[t])
        if not share:
            raise UsageError(f"nothing of the image is left at t={t}", where="--levels", hint=f"t below {t}")
        return Level(f"t={t}", ((1 - share) / share) ** 0.5)

    def parse(self, text: str) -> int:
        """The step that ``10`` or ``t=10`` means.

        Raises:
            UsageError: It is not a step of this schedule.
        """
        match = re.fullmatch(r"(?:t=)?(\d+)", text.strip())
        if match and int(match[1]) < len(self):
            return int(match[1])
        raise UsageError(
            f"no level {text!r}",
            where="--levels",
            hint=f"t from 0 (least noise) to {len(self) - 1}, such as 10 or t=10",
        )

    def add_noise(self, images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """sqrt(abar) x + sqrt(1 - abar) eps, in fp32.

        diffusers' own ``add_noise`` casts alpha-bar to the images' dtype, and in bf16 the noise of small t rounds to
        nothing; so the factors are computed in float64 and the sum in fp32, before any cast.

        Args:
            images: float32 ``(B, C, H, W)``.
            noise: float32, of the same shape.
            t: int64 ``(B,)``.
        """
        signal, sigma = self._factors(images, t)
        return signal * images + sigma * noise

    def velocity(self, images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The target v: sqrt(abar) eps - sqrt(1 - abar) x, in fp32 (Salimans & Ho 2022, arXiv 2202.00512, section 4).

        Args:
            images: float32 ``(B, C, H, W)``.
            noise: float32, of the same shape.
            t: int64 ``(B,)``.
        """
        signal, sigma = self._factors(images, t)
        return signal * noise - sigma * images

    def snr(self) -> Tensor:
        """Signal-to-noise ratio abar / (1 - abar) at each t: float64 ``(T,)``."""
        return self._alpha_bar / (1 - self._alpha_bar)

    def _factors(self, images: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        share = self._alpha_bar[t.cpu()].view(-1, 1, 1, 1)
        return share.sqrt().float().to(images.device), (1 - share).sqrt().float().to(images.device)
