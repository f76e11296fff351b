"""The training loop: network, optimiser and average, step by step.

Order, steps t, noise, flips and dropout of optimiser step n depend only on the seed and n, so a run that was killed
resumes from its last checkpoint and ends with the same weights.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import torch
from diffusers.training_utils import EMAModel

from probebench.api import TrainingError, TrainingJob, UsageError, check_range, hash63
from probebench_ddpm.diffusion.noise_schedule import training_schedule
from probebench_ddpm.networks.attention import check_attention
from probebench_ddpm.networks.scaling import input_range, to_input
from probebench_ddpm.networks.unet import WIDTHS, random_unet, unet_config
from probebench_ddpm.training import randomness
from probebench_ddpm.training.losses_by_level import LossesByLevel
from probebench_ddpm.training.mixed_precision import MixedPrecision
from probebench_ddpm.training.objective import Objective
from probebench_ddpm.training.process_group import ProcessGroup
from probebench_ddpm.training.run_folder import TrainingState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import UNet2DModel
    from torch import Tensor

    from probebench_ddpm.options import DDPMOptions, DDPMRecipe
    from probebench_ddpm.training.images import TrainingImages


class TrainingLoop:
    """Network, optimiser and average of a training.

    Args:
        job: The training.
        images: Images to train on, and to measure the loss on.
        group: The processes that share each step.

    Raises:
        UsageError: A batch has fewer images than there are parts.
        FeatureError: The network's input is out of its range.
    """

    def __init__(self, job: TrainingJob, images: TrainingImages, group: ProcessGroup | None = None) -> None:
        recipe = cast("DDPMRecipe", job.recipe)
        self._job, self._recipe = job, recipe
        self._group = group or ProcessGroup()
        self._images = images.train
        self._check_batch_size()
        self._scale = cast("DDPMOptions", job.options).scale
        first = to_input(self._images[: recipe.batch_size], self._scale)
        check_range(first, input_range(self._scale), where="training images of ddpm")
        self.network_config = network_config(job, self._images.shape[-1])
        self.unet = random_unet(self.network_config, seed=hash63("weights", job.seed)).to(job.device)
        check_attention(self.unet, where="training of ddpm")
        self._passes = MixedPrecision(self.unet, job.precision)
        self.scheduler = training_schedule(recipe.schedule, recipe.prediction)
        self._objective = Objective(self.scheduler, recipe.min_snr)
        self._losses_by_level = LossesByLevel(
            images.measured,
            self._objective,
            device=job.device,
            precision=job.precision,
            batch_size=max(1, recipe.batch_size // recipe.accumulate),
            scale=self._scale,
        )
        self._optimizer = torch.optim.AdamW(
            self.unet.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        # The warm-up is decay 1 - (1 + n)^-power: a short run is averaged over its last part, not over all of it.
        self._ema = EMAModel(self.unet.parameters(), decay=recipe.ema, use_ema_warmup=True, power=0.75)
        self.epoch = 0
        self.step = 0
        self.stopped = False
        self._loss_sum = self._seconds = 0.0  # of the unfinished epoch

    @property
    def _steps_per_epoch(self) -> int:
        return max(1, len(self._images) // self._recipe.batch_size)

    @property
    def _steps_of_epoch(self) -> int:
        """Finished steps of the present epoch."""
        return self.step - self.epoch * self._steps_per_epoch

    @property
    def mid_epoch(self) -> bool:
        """Whether an epoch is unfinished."""
        return self._steps_of_epoch > 0

    def run_epoch(self) -> dict[str, float] | None:
        """Trains to the end of the epoch, or to the step at which the job requests a stop.

        Returns:
            The line of the loss curve; None if the epoch is not finished.
        """
        started, before = time.perf_counter(), self._seconds
        for batch in self._batches():
            loss = self.optimiser_step(batch)
            self._loss_sum += loss
            self._seconds = before + time.perf_counter() - started
            self._job.progress(self.epoch + 1, self._steps_of_epoch, self._steps_per_epoch, loss)
            self.stopped = self._group.any(self._job.should_stop())
            if self.stopped:
                break
        if self._steps_of_epoch < self._steps_per_epoch:
            return None
        self.epoch += 1
        images = self._steps_per_epoch * min(self._recipe.batch_size, len(self._images))
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "loss": round(self._loss_sum / self._steps_per_epoch, 6),
            "seconds": round(self._seconds, 2),
            "images_per_second": round(images / self._seconds, 1),
        }
        self._loss_sum = self._seconds = 0.0
        return row

    def _batches(self) -> Iterator[Tensor]:
        """Yields the remaining batches of this epoch; the last, incomplete one is dropped."""
        order = randomness.epoch_order(len(self._images), seed=self._job.seed, epoch=self.epoch)
        size = self._recipe.batch_size
        for number in range(self._steps_of_epoch, self._steps_per_epoch):
            yield self._images[order[number * size : (number + 1) * size]]

    def optimiser_step(self, images: Tensor) -> float:
        """Trains on one batch.

        Args:
            images: uint8 ``(B, 3, H, W)``.

        Returns:
            The loss before the step.

        Raises:
            TrainingError: The loss or the gradient is not finite.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * min(1.0, (self.step + 1) / max(1, self._recipe.warmup))
        loss = self._accumulate_gradients(images)
        self._check_finite(loss, "loss")
        norm = torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self._recipe.clip)
        self._check_finite(norm, "norm of the gradient")  # a step with it would save weights of NaN
        self._optimizer.step()
        self._passes.copy_weights()
        if self._group.is_main:
            self._ema.step(self.unet.parameters())
        self.step += 1
        return float(loss)

    def _accumulate_gradients(self, images: Tensor) -> Tensor:
        """Computes the gradients of a batch, micro-batch by micro-batch, and returns its loss."""
        steps, seed, device = len(self._objective.schedule), self._job.seed, torch.device(self._job.device)
        clean, noise, t = randomness.step_inputs(
            images, steps=steps, flips=self._job.flips, seed=seed, step=self.step, scale=self._scale
        )
        noised = self._objective.schedule.add_noise(clean, noise, t)
        target = self._objective.target(clean, noise, t)
        self._passes.zero_grad()
        total = torch.zeros((), device=device)
        for part in self._micro_batches(len(images)):
            with randomness.seeded_dropout(device, seed=seed, step=self.step, start=part.start):
                predicted = self._passes.predict(noised[part].to(device), t[part].to(device))
            loss = self._objective.loss(predicted, target[part].to(device), t[part])
            loss = loss * (len(predicted) / len(images))
            self._passes.backward(loss)
            total += loss.detach()
        return self._group.sum_gradients(list(self.unet.parameters()), total)

    def _micro_batches(self, count: int) -> list[slice]:
        """Returns this process' micro-batches of a batch."""
        number = self._recipe.accumulate
        first = self._group.rank * number
        return split_batch(count, self._group.world_size * number)[first : first + number]

    def _check_batch_size(self) -> None:
        size, processes = min(self._recipe.batch_size, len(self._images)), self._group.world_size
        number = processes * self._recipe.accumulate
        if processes > 1 and number > size:
            raise UsageError(
                f"a batch of {size} images cannot be split into {number} micro-batches",
                where=f"{processes} processes x accumulate={self._recipe.accumulate}",
                hint=f"--recipe batch_size={number} or more, or a smaller accumulate",
            )

    def _check_finite(self, value: Tensor, name: str) -> None:
        if not torch.isfinite(value):
            raise TrainingError(
                f"the {name} is {value.item()} at step {self.step} (epoch {self.epoch + 1})",
                where=str(self._job.out),
                hint=f"--recipe lr={self._recipe.lr / 10:g} --out {self._job.out}-2; saved checkpoints can be used",
            )

    def averaged_network(self) -> UNet2DModel:
        """Returns a copy of the network with the averaged weights."""
        averaged = random_unet(self.network_config, seed=0)
        averaged.load_state_dict(self.unet.state_dict())
        self._ema.copy_to(averaged.parameters())
        return averaged

    def measure(self, averaged: UNet2DModel) -> list[dict[str, float | str]]:
        """Returns the lines of the losses by noise level."""
        return [{"epoch": self.epoch, "step": self.step, **row} for row in self._losses_by_level.measure(averaged)]

    def state(self) -> TrainingState:
        """Returns everything that the next step depends on."""
        names = [name for name, _ in self.unet.named_parameters()]
        moments = self._optimizer.state_dict()["state"]
        tensors = {f"unet/{name}": weight for name, weight in self.unet.state_dict().items()}
        tensors |= {f"ema/{name}": weight for name, weight in zip(names, self._ema.shadow_params, strict=True)}
        for number, name in enumerate(names):
            tensors |= {f"adam.{moment}/{name}": value for moment, value in moments[number].items()}
        counts = self.epoch, self.step, self._ema.optimization_step
        return TrainingState(*counts, tensors, self._loss_sum, self._seconds)

    def restore(self, state: TrainingState) -> None:
        """Restores a saved state."""
        self.epoch, self.step, self._ema.optimization_step = state.epoch, state.step, state.ema_step
        self._loss_sum, self._seconds = state.loss_sum, state.seconds
        names = [name for name, _ in self.unet.named_parameters()]
        self.unet.load_state_dict({name: state.tensors[f"unet/{name}"] for name in self.unet.state_dict()})
        for shadow, name in zip(self._ema.shadow_params, names, strict=True):
            shadow.copy_(state.tensors[f"ema/{name}"])
        moments = {
            number: {key: state.tensors[f"adam.{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
            for number, name in enumerate(names)
        }
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self._passes.copy_weights()


def network_config(job: TrainingJob, side: int) -> dict[str, Any]:
    """Returns the config of the network to train.

    Args:
        job: The training.
        side: Height and width of the images.
    """
    options, recipe = cast("DDPMOptions", job.options), cast("DDPMRecipe", job.recipe)
    widths = options.widths or WIDTHS
    return unet_config(widths=widths, attention=options.attention, size=side, dropout=recipe.dropout)


def split_batch(count: int, number: int) -> list[slice]:
    """Splits a batch into parts whose sizes differ by one image at most, without empty ones."""
    bounds = [count * part // number for part in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(bounds) if start < end]
