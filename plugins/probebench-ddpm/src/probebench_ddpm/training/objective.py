"""The training objective: what the network predicts, and the weight of the error at each step t."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import mse_loss

from probebench_ddpm.diffusion.noise_schedule import NoiseSchedule

if TYPE_CHECKING:
    from diffusers import DDPMScheduler
    from torch import Tensor


class Objective:
    """Prediction of noise (Ho et al. 2020, equation 14) or v (Salimans & Ho 2022, section 4), with optional min-SNR.

    Args:
        scheduler: The forward process; its config contains the prediction type.
        min_snr: Gamma of min-SNR weighting (Hang et al. 2023, arXiv 2303.09556, section 3.4); 0 for weight 1 at every
            t.
    """

    def __init__(self, scheduler: DDPMScheduler, min_snr: float = 0.0) -> None:
        self.schedule = NoiseSchedule(scheduler)
        self._predicts_v = scheduler.config.prediction_type == "v_prediction"
        self._weights = self._min_snr_weights(min_snr) if min_snr else None

    def _min_snr_weights(self, gamma: float) -> Tensor:
        """Returns weights by t, such that the error of the predicted image has weight min(SNR, gamma).

        The error of the noise is SNR times the error of the image, and the error of v is SNR + 1 times.
        """
        snr = self.schedule.snr()
        return (snr.clamp(max=gamma) / (snr + 1 if self._predicts_v else snr)).float()

    def target(self, clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns what the network should predict.

        Args:
            clean: float32 ``(B, C, H, W)``.
            noise: float32, of the same shape.
            t: int64 ``(B,)``.
        """
        return self.schedule.velocity(clean, noise, t) if self._predicts_v else noise

    def loss(self, predicted: Tensor, target: Tensor, t: Tensor) -> Tensor:
        """Returns the mean over images of the weighted mean squared errors.

        Args:
            predicted: float32 ``(B, C, H, W)``.
            target: float32, of the same shape.
            t: int64 ``(B,)``, on the CPU.
        """
        if self._weights is None:
            return mse_loss(predicted, target)
        return (self._weights[t].to(predicted.device) * image_errors(predicted, target)).mean()


def image_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Returns the mean squared error of each image: ``(B,)``."""
    return torch.square(predicted - target).mean((1, 2, 3))
