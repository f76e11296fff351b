"""`probebench train ddpm`: the training loop.

Order, steps t, noise, flips and dropout of optimiser step n depend on the seed and n alone, so a run that was killed
goes on from its last checkpoint to the same weights.
"""

from __future__ import annotations

import copy
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from diffusers.training_utils import EMAModel
from torch.nn import Module
from torch.nn.functional import mse_loss

from probebench.api import TrainingError, TrainingJob, UsageError, check_range, hash63
from probebench_ddpm.run_folder import RunFolder, TrainingState
from probebench_ddpm.schedule import NoiseSchedule, linear_schedule
from probebench_ddpm.unet import INPUT_RANGE, WIDTHS, random_unet, to_input, unet_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffusers import UNet2DModel
    from torch import Tensor

    from probebench.api import Precision
    from probebench_ddpm.options import DDPMOptions, DDPMRecipe


def train(job: TrainingJob) -> Path:
    """Trains a new U-Net to predict noise (Ho et al. 2020, algorithm 1), or goes on with a run that was interrupted.

    Args:
        job: Options, recipe, images and folder. Labels are never read.

    Returns:
        Folder of the last checkpoint; when the job said stop, that of the step at which it did.

    Raises:
        UsageError: The options do not describe a new network, the images do not fit it, or the folder holds another
            run or more epochs.
        TrainingError: The loss or the gradient is not finite, or the run's state cannot be read.
        FeatureError: The network's input is out of its range.
    """
    options, recipe = cast("DDPMOptions", job.options), cast("DDPMRecipe", job.recipe)
    loop = _Loop(job, options, recipe)
    folder = RunFolder(job, loop.network_config)
    if state := folder.last_state():
        loop.restore(state)
    if loop.epoch > job.epochs:
        raise UsageError(
            f"the run has {loop.epoch} epochs already, more than {job.epochs}",
            where=str(job.out),
            hint=f"--epochs {loop.epoch} or more, or a new --out",
        )
    last = folder.checkpoint(loop.epoch)
    while loop.epoch < job.epochs and not loop.stopped:
        row = loop.run_epoch()
        if row:
            folder.log(row)
        if loop.stopped or loop.epoch % recipe.save_every == 0 or loop.epoch == job.epochs:
            last = folder.save(loop.state(), loop.unet, loop.averaged(), loop.scheduler, inside=not row)
    return last


class _Loop:
    """Network, optimiser and average, and one epoch of work on them."""

    def __init__(self, job: TrainingJob, options: DDPMOptions, recipe: DDPMRecipe) -> None:
        _check_options(options)
        self._job, self._recipe = job, recipe
        self._images = _load_images(job)
        check_range(to_input(self._images[: recipe.batch_size]), INPUT_RANGE, where="training images of ddpm")
        self.network_config = unet_config(
            widths=options.widths or WIDTHS,
            attention=options.attention,
            size=self._images.shape[-1],
            dropout=recipe.dropout,
        )
        self.unet = random_unet(self.network_config, seed=hash63("weights", job.seed)).to(job.device)
        self._worker = _Worker(self.unet, job.precision)
        self.scheduler = linear_schedule()
        self._schedule = NoiseSchedule(self.scheduler)
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

    def run_epoch(self) -> dict[str, float] | None:
        """What is left of an epoch, or up to the step at which the job says stop.

        Returns:
            The line of the loss curve; None when the epoch is not finished.
        """
        started, before = time.perf_counter(), self._seconds
        for batch in self._batches():
            loss = self._optimise(batch)
            self._loss_sum += loss
            self._seconds = before + time.perf_counter() - started
            self._job.progress(self.epoch + 1, self._place, self._steps_per_epoch, loss)
            self.stopped = self._job.stop()
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
        order = torch.randperm(len(self._images), generator=_generator("order", self._job.seed, self.epoch))
        size = self._recipe.batch_size
        for number in range(self._place, self._steps_per_epoch):
            yield self._images[order[number * size : (number + 1) * size]]

    def _optimise(self, images: Tensor) -> float:
        noised, noise, t = self._noised(images)
        for group in self._optimizer.param_groups:
            group["lr"] = self._recipe.lr * min(1.0, (self.step + 1) / max(1, self._recipe.warmup))
        device = torch.device(self._job.device)
        with self._dropout(device):
            predicted = self._worker.predict(noised.to(device), t.to(device))
        loss = mse_loss(predicted, noise.to(device))
        self._check_finite(loss, "loss")
        self._worker.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self.unet.parameters(), self._recipe.clip)
        self._check_finite(norm, "gradient's norm")  # its step would make weights NaN, and a checkpoint of them
        self._optimizer.step()
        self._worker.refresh()
        self._ema.step(self.unet.parameters())
        self.step += 1
        return float(loss.detach())

    def _check_finite(self, value: Tensor, name: str) -> None:
        if not torch.isfinite(value):
            raise TrainingError(
                f"the {name} is {value.item()} at step {self.step} (epoch {self.epoch + 1})",
                where=str(self._job.out),
                hint="a smaller lr; the last checkpoint is intact",
            )

    @contextmanager
    def _dropout(self, device: torch.device) -> Iterator[None]:
        """Dropout knows the global generator only: it is seeded for this step, and given back as it was."""
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(hash63("dropout", self._job.seed, self.step))
            yield

    def _noised(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noised images, the noise and t, all drawn on the CPU in fp32."""
        generator = _generator("step", self._job.seed, self.step)
        clean = to_input(images)
        if self._job.flips:
            mirrored = torch.rand(len(clean), generator=generator) < 0.5
            clean = torch.where(mirrored.view(-1, 1, 1, 1), clean.flip(-1), clean)
        t = torch.randint(len(self._schedule), (len(clean),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        return self._schedule.add_noise(clean, noise, t), noise, t

    def averaged(self) -> UNet2DModel:
        """A copy of the network with the averaged weights."""
        averaged = random_unet(self.network_config, seed=0)
        averaged.load_state_dict(self.unet.state_dict())
        self._ema.copy_to(averaged.parameters())
        return averaged

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


class _Worker:
    """The network that computes: the master's own weights in fp32, or a copy of them in bf16.

    A copy halves what every layer reads and writes, and spares the casts of autocast: 15 % of a step on a CPU with AMX.
    The optimiser sees fp32 weights and gradients only, so small updates are not lost to rounding.
    """

    def __init__(self, master: UNet2DModel, precision: Precision) -> None:
        self._master: list[Tensor] = list(master.parameters())
        self._dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._network = master
        self._own: list[Tensor] = []
        if precision == "bf16":
            # Not the method of diffusers, which warns of layers that want fp32 even where there are none.
            self._network = Module.to(copy.deepcopy(master), torch.bfloat16)
            self._own = list(self._network.parameters())
        self._network.train()

    def predict(self, noised: Tensor, t: Tensor) -> Tensor:
        """The predicted noise in fp32."""
        return cast("Tensor", self._network(noised.to(self._dtype), t).sample.float())

    def backward(self, loss: Tensor) -> None:
        """Puts the loss' gradients on the master's weights."""
        for weight in self._master:
            weight.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if self._own:
            for weight, own in zip(self._master, self._own, strict=True):
                weight.grad, own.grad = cast("Tensor", own.grad).float(), None

    def refresh(self) -> None:
        """Takes over the master's weights after they have changed."""
        with torch.no_grad():
            if self._own:
                torch._foreach_copy_(self._own, self._master)


def _check_options(options: DDPMOptions) -> None:
    standard = type(options)()
    if options.checkpoint not in ("none", standard.checkpoint):
        raise UsageError("training starts from random weights", where="option checkpoint of ddpm", hint="leave it out")
    reading = ("weights", "init_seed", "noise", "draws")
    if given := [name for name in reading if getattr(options, name) != getattr(standard, name)]:
        raise UsageError(
            f"{' and '.join(given)} mean nothing in training",
            where="options of ddpm",
            hint="leave them out; see --seed",
        )


def _generator(*parts: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(hash63(*parts))


def _load_images(job: TrainingJob) -> Tensor:
    """All images: uint8 ``(N, 3, H, W)``."""
    images = torch.stack([job.images.image(index) for index in range(len(job.images))])
    if images.shape[-1] != images.shape[-2] or images.shape[-1] % 8:
        raise UsageError(
            f"images of {images.shape[-2]}x{images.shape[-1]} do not fit a U-Net of four levels",
            where=job.dataset,
            hint="square images whose side is a multiple of 8",
        )
    return images
