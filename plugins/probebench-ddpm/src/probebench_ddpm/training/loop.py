"""The training loop: network, optimiser and average, step by step.

Order, steps t, noise, flips and dropout of optimiser step n depend on the seed and n alone, so a run that was killed
goes on from its last checkpoint to the same weights.
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
from probebench_ddpm.training.losses_by_level import Bands
from probebench_ddpm.training.mixed_precision import Worker
from probebench_ddpm.training.objective import Objective
from probebench_ddpm.training.process_group import Team
from probebench_ddpm.training.run_folder import TrainingState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import UNet2DModel
    from torch import Tensor

    from probebench_ddpm.options import DDPMOptions, DDPMRecipe
    from probebench_ddpm.training.images import Images


class Loop:
    """Network, optimiser and average, and one epoch of work on them.

    Args:
        job: What to train, and how.
        images: What to train on, and what to measure.
        team: The processes that share each step.

    Raises:
        UsageError: A batch has fewer images than there are parts.
        FeatureError: The network's input is out of its range.
    """

    def __init__(self, job: TrainingJob, images: Images, team: Team | None = None) -> None:
        recipe = cast("DDPMRecipe", job.recipe)
        self._job, self._recipe = job, recipe
        self._team = team or Team()
        self._images = images.train
        self._check_parts()
        self._scale = cast("DDPMOptions", job.options).scale
        first = to_input(self._images[: recipe.batch_size], self._scale)
        check_range(first, input_range(self._scale), where="training images of ddpm")
        self.network_config = new_network(job, self._images.shape[-1])
        self.unet = random_unet(self.network_config, seed=hash63("weights", job.seed)).to(job.device)
        check_attention(self.unet, where="training of ddpm")
        self._worker = Worker(self.unet, job.precision)
        self.scheduler = training_schedule(recipe.schedule, recipe.prediction)
        self._objective = Objective(self.scheduler, recipe.min_snr)
        self._bands = Bands(
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
        self._loss_sum = self._seconds = 0.0  # of the epoch that is not finished

    @property
    def _steps_per_epoch(self) -> int:
        return max(1, len(self._images) // self._recipe.batch_size)

    @property
    def inside(self) -> bool:
        """Whether an epoch is begun and not finished."""
        return self._place > 0

    def run_epoch(self) -> dict[str, float] | None:
        """What is left of an epoch, or up to the step at which the job says stop.

        Returns:
            The line of the loss curve; None when the epoch is not finished.
        """
        started, before = time.perf_counter(), self._seconds
        for batch in self._batches():
            loss = self.optimise(batch)
            self._loss_sum += loss
            self._seconds = before + time.perf_counter() - started
            self._job.progress(self.epoch + 1, self._place, self._steps_per_epoch, loss)
            self.stopped = self._team.any(self._job.stop())
            if self.stopped:
                break
        if self._place < self._steps_per_epoch:
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

    @property
    def _place(self) -> int:
        """Steps of this epoch that are done."""
        return self.step - self.epoch * self._steps_per_epoch

    def _batches(self) -> Iterator[Tensor]:
        """The batches of this epoch that are left; the last incomplete one is left out."""
        order = randomness.order(len(self._images), seed=self._job.seed, epoch=self.epoch)
        size = self._recipe.batch_size
        for number in range(self._place, self._steps_per_epoch):
            yield self._images[order[number * size : (number + 1) * size]]

    def optimise(self, images: Tensor) -> float:
        """One optimiser step.

        Args:
            images: uint8 ``(B, 3, H, W)``.

        Returns:
            The loss before it.

        Raises:
            TrainingError: Loss or gradient are not finite.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * min(1.0, (self.step + 1) / max(1, self._recipe.warmup))
        loss = self._add_up_gradients(images)
        self._check_finite(loss, "loss")
        norm = torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self._recipe.clip)
        self._check_finite(norm, "gradient's norm")  # its step would make weights NaN, and a checkpoint of them
        self._optimizer.step()
        self._worker.refresh()
        if self._team.main:
            self._ema.step(self.unet.parameters())
        self.step += 1
        return float(loss)

    def _add_up_gradients(self, images: Tensor) -> Tensor:
        """Puts the batch's gradients on the weights, part by part; gives the batch's loss."""
        steps, seed, device = len(self._objective.schedule), self._job.seed, torch.device(self._job.device)
        clean, noise, t = randomness.draw(
            images, steps=steps, flips=self._job.flips, seed=seed, step=self.step, scale=self._scale
        )
        noised = self._objective.schedule.add_noise(clean, noise, t)
        target = self._objective.target(clean, noise, t)
        self._worker.clear()
        total = torch.zeros((), device=device)
        for part in self._parts(len(images)):
            with randomness.dropout(device, seed=seed, step=self.step, start=part.start):
                predicted = self._worker.predict(noised[part].to(device), t[part].to(device))
            loss = self._objective.loss(predicted, target[part].to(device), t[part])
            loss = loss * (len(predicted) / len(images))
            self._worker.backward(loss)
            total += loss.detach()
        return self._team.add_up(list(self.unet.parameters()), total)

    def _parts(self, count: int) -> list[slice]:
        """This process' parts of a batch."""
        number = self._recipe.accumulate
        first = self._team.index * number
        return parts(count, self._team.count * number)[first : first + number]

    def _check_parts(self) -> None:
        size, number = min(self._recipe.batch_size, len(self._images)), self._team.count * self._recipe.accumulate
        if self._team.count > 1 and number > size:
            raise UsageError(
                f"a batch of {size} images cannot be cut into {number} parts",
                where=f"{self._team.count} processes, accumulate={self._recipe.accumulate}",
                hint="a larger batch_size, or fewer parts",
            )

    def _check_finite(self, value: Tensor, name: str) -> None:
        if not torch.isfinite(value):
            raise TrainingError(
                f"the {name} is {value.item()} at step {self.step} (epoch {self.epoch + 1})",
                where=str(self._job.out),
                hint="a smaller lr; the last checkpoint is intact",
            )

    def averaged(self) -> UNet2DModel:
        """A copy of the network with the averaged weights."""
        averaged = random_unet(self.network_config, seed=0)
        averaged.load_state_dict(self.unet.state_dict())
        self._ema.copy_to(averaged.parameters())
        return averaged

    def measure(self, averaged: UNet2DModel) -> list[dict[str, float | str]]:
        """Lines of the losses by band of noise."""
        return [{"epoch": self.epoch, "step": self.step, **row} for row in self._bands.measure(averaged)]

    def state(self) -> TrainingState:
        """Everything that the next step depends on."""
        names = [name for name, _ in self.unet.named_parameters()]
        moments = self._optimizer.state_dict()["state"]
        tensors = {f"unet/{name}": weight for name, weight in self.unet.state_dict().items()}
        tensors |= {f"ema/{name}": weight for name, weight in zip(names, self._ema.shadow_params, strict=True)}
        for number, name in enumerate(names):
            tensors |= {f"adam.{moment}/{name}": value for moment, value in moments[number].items()}
        counts = self.epoch, self.step, self._ema.optimization_step
        return TrainingState(*counts, tensors, self._loss_sum, self._seconds)

    def restore(self, state: TrainingState) -> None:
        """Goes back to a saved state."""
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
        self._worker.refresh()


def new_network(job: TrainingJob, side: int) -> dict[str, Any]:
    """Config of the network to train.

    Args:
        job: What to train.
        side: Height and width of the images.
    """
    options, recipe = cast("DDPMOptions", job.options), cast("DDPMRecipe", job.recipe)
    widths = options.widths or WIDTHS
    return unet_config(widths=widths, attention=options.attention, size=side, dropout=recipe.dropout)


def parts(count: int, number: int) -> list[slice]:
    """Cuts a batch into parts that differ by one image at most; those that would be empty are left out."""
    ends = [count * place // number for place in range(number + 1)]
    return [slice(start, end) for start, end in pairwise(ends) if start < end]
