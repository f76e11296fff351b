"""The noise schedule of the forward process: the amount of noise at step t.

``t`` is the training index, from 0 (least noise) to T - 1, as in diffusers. DDAE counts from 1, so its t = 11 is t = 10
here.
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
    """Returns the schedule of Ho et al. 2020, section 4: 1000 linear steps of beta, 1e-4 to 0.02; predicts noise."""
    return training_schedule("linear", "epsilon")


def training_schedule(schedule: Schedule, prediction: Prediction) -> DDPMScheduler:
    """Returns the forward process of a new network, with the type of its prediction.

    Args:
        schedule: ``linear`` of Ho et al. 2020, or ``cosine`` of Nichol & Dhariwal 2021 (arXiv 2102.09672, equation 17).
        prediction: ``epsilon``, the noise, or ``v`` of Salimans & Ho 2022.
    """
    return DDPMScheduler(
        num_train_timesteps=STEPS,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule],
        beta_start=1e-4,  # of the linear schedule; the cosine schedule ignores them
        beta_end=0.02,
        prediction_type={"epsilon": "epsilon", "v": "v_prediction"}[prediction],
    )


def schedule_summary(scheduler: DDPMScheduler) -> dict[str, Any]:
    """Returns the description of a forward process that manifests contain."""
    config = scheduler.config
    ends = {"from": config.beta_start, "to": config.beta_end} if config.beta_schedule == "linear" else {}
    steps = {"steps": config.num_train_timesteps, "prediction": config.prediction_type}
    return {"beta": config.beta_schedule, **ends, **steps}


def alpha_bar(scheduler: DDPMScheduler) -> Tensor:
    """Returns alpha-bar, the signal's share of the variance at each t: float64 ``(T,)``, decreasing."""
    return torch.cumprod(1 - scheduler.betas.double(), dim=0)


class NoiseSchedule:
    """A noise schedule in float64: levels, noised images, targets.

    Args:
        scheduler: The forward process.
    """

    def __init__(self, scheduler: DDPMScheduler) -> None:
        self._alpha_bar = alpha_bar(scheduler)

    def __len__(self) -> int:
        return len(self._alpha_bar)

    def level(self, t: int) -> Level:
        """Returns level ``t=...`` with sigma = sqrt((1 - abar) / abar).

        Raises:
            UsageError: The schedule ends in pure noise (zero terminal SNR), and t is its last step.
        """
        abar = float(self._alpha_bar[t])
        if not abar:
            raise UsageError(f"the input is pure noise at t={t}", where="--levels", hint=f"--levels {t - 1}")
        return Level(f"t={t}", ((1 - abar) / abar) ** 0.5)

    def parse(self, text: str) -> int:
        """Returns the step that ``10`` or ``t=10`` names.

        Raises:
            UsageError: The text is not a step of this schedule.
        """
        match = re.fullmatch(r"(?:t=)?(\d+)", text.strip())
        if match and int(match[1]) < len(self):
            return int(match[1])
        raise UsageError(
            f"no level {text!r}",
            where="--levels",
            hint=f"--levels 10, or any other t from 0 (least noise) to {len(self) - 1}",
        )

    def add_noise(self, images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns sqrt(abar) x + sqrt(1 - abar) eps, in fp32.

        diffusers' own ``add_noise`` casts alpha-bar to the images' dtype, and in bf16 the noise of small t rounds to 0.
        Here the factors are computed in float64 and the sum in fp32, before any cast.

        Args:
            images: float32 ``(B, C, H, W)``.
            noise: float32, of the same shape.
            t: int64 ``(B,)``.
        """
        signal, sigma = self._factors(images, t)
        return signal * images + sigma * noise

    def velocity(self, images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns v = sqrt(abar) eps - sqrt(1 - abar) x, in fp32 (Salimans & Ho 2022, arXiv 2202.00512, section 4).

        Args:
            images: float32 ``(B, C, H, W)``.
            noise: float32, of the same shape.
            t: int64 ``(B,)``.
        """
        signal, sigma = self._factors(images, t)
        return signal * noise - sigma * images

    def snr(self) -> Tensor:
        """Returns the signal-to-noise ratio abar / (1 - abar) at each t: float64 ``(T,)``."""
        return self._alpha_bar / (1 - self._alpha_bar)

    def _factors(self, images: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        abar = self._alpha_bar[t.cpu()].view(-1, 1, 1, 1)
        return abar.sqrt().float().to(images.device), (1 - abar).sqrt().float().to(images.device)
