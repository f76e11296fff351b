"""Options of the backbones, of training and of sampling.

This module must not import torch, because `probebench list` imports it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from probebench.api import Options

STEPS = 1000
"""Steps of the forward process in Ho et al. 2020 and in nearly every checkpoint since."""

Prediction = Literal["epsilon", "v"]
Schedule = Literal["linear", "cosine"]


Weights = Annotated[
    Literal["ema", "raw", "random"],
    Field(description="the checkpoint's averaged (ema) or last (raw) weights, or random weights"),
]
InitSeed = Annotated[int, Field(ge=0, description="seed of random weights")]
Noise = Annotated[
    Literal["per-sample", "shared", "mean", "none"],
    Field(
        description="noise added at level t: one sample per image, one for all images, the mean of the features over "
        "several samples, or none (the network still gets t)"
    ),
]
Draws = Annotated[int, Field(ge=2, le=64, description="number of noise samples that noise=mean averages over")]


class DDPMOptions(Options):
    """Options of `ddpm`: the U-Net, its weights, and the noise that is added to an image."""

    added: ClassVar[frozenset[str]] = frozenset({"scale"})

    checkpoint: str = Field(
        "scattered-digits",
        description="name of bundled weights; a training run, folder or file; hub:owner/name@revision; or none",
    )
    attention: bool = Field(True, description="self-attention at the second level and in the middle block, or nowhere")
    widths: tuple[int, ...] = Field(
        (), description="channels of the four levels; empty: those of the checkpoint, or 32+64+64+64 for a new network"
    )
    weights: Weights = "ema"
    init_seed: InitSeed = 0
    noise: Noise = "per-sample"
    draws: Draws = 4
    scale: float = Field(
        1.0,
        gt=0,
        le=2,
        description="black and white are fed to the network as -scale and scale; other values than 1 are for studies "
        "of a wrong input range",
    )

    @field_validator("widths")
    @classmethod
    def _check_four_levels(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if widths and (len(widths) != 4 or min(widths) < 4 or any(width % 4 for width in widths)):
            raise ValueError("should be four multiples of 4, such as 32+64+64+64")
        return widths


class LatentOptions(Options):
    """Options of latent diffusion models: the checkpoint, its weights, and the noise that is added to the latents."""

    checkpoint: str = Field(
        "", description="folder that diffusers' save_pretrained has written, or hub:owner/name@revision"
    )
    weights: Weights = "ema"
    init_seed: InitSeed = 0
    noise: Noise = "per-sample"
    draws: Draws = 4


class DiTOptions(LatentOptions):
    """Options of `dit`."""


class LDMOptions(LatentOptions):
    """Options of `ldm`, whose network may be conditioned on text."""

    prompt: Literal["empty", "zeros"] = Field(
        "empty",
        description="text condition of a text-to-image network: the empty text, encoded by the checkpoint's text "
        "encoder, or zeros",
    )


class DDPMSeries(Options):
    """Options of a series: a training run and its epochs."""

    run: str = Field("", description="folder of a training run; each of its checkpoints is a backbone of the series")
    epochs: tuple[int, ...] = Field((), description="epochs of that run, such as 1+5+10; or all")

    @field_validator("epochs", mode="before")
    @classmethod
    def _parse_all(cls, epochs: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        return () if epochs == ["all"] else epochs

    @model_validator(mode="after")
    def _check_run(self) -> Self:
        if self.epochs and not self.run:
            raise ValueError("epochs needs a training run: run=FOLDER,epochs=...")
        return self


class DDPMRecipe(Options):
    """Options of `probebench train ddpm`; defaults follow Ho et al. 2020 (arXiv 2006.11239), section 4, appendix B."""

    # Runs that were started before these options existed can be resumed, and stay on the same curve.
    added: ClassVar[frozenset[str]] = frozenset({"prediction", "schedule", "min_snr", "holdout"})

    lr: float = Field(1e-4, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    batch_size: int = Field(128, ge=1, description="images per optimiser step")
    warmup: int = Field(500, ge=0, description="steps of linear learning-rate warm-up")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout inside the residual layers")
    ema: float = Field(
        0.9999, ge=0, lt=1, description="decay of the exponential moving average of the weights, reached by a warm-up"
    )
    prediction: Prediction = Field("epsilon", description="what the network predicts: the noise (epsilon) or v")
    schedule: Schedule = Field("linear", description="noise schedule: linear in beta, or cosine in alpha-bar")
    min_snr: float = Field(0.0, ge=0, description="gamma of min-SNR loss weights, such as 5; 0: equal weights")
    accumulate: int = Field(
        1, ge=1, description="micro-batches per step (gradient accumulation): less memory for the same step"
    )
    holdout: int = Field(
        0, ge=0, description="train images that are held out to measure the loss on; 0: the val split, if there is one"
    )
    save_every: int = Field(10, ge=1, description="epochs between checkpoints")
    save_early: bool = Field(False, description="also save epochs 1, 2, 4, 8, ... before epoch save_every")
    tensorboard: bool = Field(False, description="also write the loss curves for TensorBoard, into the run's folder")

    @model_validator(mode="after")
    def _check_micro_batches(self) -> Self:
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate={self.accumulate} is larger than batch_size={self.batch_size}")
        return self

    def identity(self) -> dict[str, Any]:
        """Returns the settings that the trained weights depend on; a run cannot be resumed with other ones."""
        excluded = {"accumulate", "save_every", "save_early", "tensorboard"}
        return self.model_dump(mode="json", exclude=excluded | self.excluded_fields())

    def saves(self, epoch: int) -> bool:
        """Returns whether a checkpoint is saved after an epoch, counted from 1."""
        early = self.save_early and epoch < self.save_every and epoch & (epoch - 1) == 0
        return early or epoch % self.save_every == 0


class DDPMSampling(Options):
    """Options of `probebench sample` for `ddpm`."""

    sampler: Literal["ddim", "ddpm"] = Field(
        "ddim", description="ddim of Song et al. 2020, or ddpm: ancestral sampling of Ho et al. 2020"
    )
    steps: int = Field(50, ge=1, description="denoising steps, a divisor of the trained steps; ddpm: 1000")
    eta: float = Field(0.0, ge=0, le=1, description="ddim: noise added in each step, from none (0) to that of ddpm (1)")
    spacing: Literal["leading", "trailing"] = Field(
        "leading",
        description="ddim: 20 steps are at t = 0, 50, ... 950 (leading, as published) or 49, 99, ... 999 (trailing)",
    )
    variance_type: Literal["fixed_small", "fixed_large"] | None = Field(
        None, description="ddpm: variance of a step's noise; fixed_large with 1000 steps, fixed_small with fewer"
    )
    clip: bool | None = Field(
        None,
        description="clip the predicted image to -1..1 in each step; none: as in the checkpoint's schedule",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_ddpm_defaults(cls, data: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        if not isinstance(data, dict) or data.get("sampler") != "ddpm":
            return data
        steps = data.get("steps", STEPS)
        variance = "fixed_large" if str(steps) == str(STEPS) else "fixed_small"
        return {**data, "steps": steps, "variance_type": data.get("variance_type") or variance}

    @model_validator(mode="after")
    def _check_sampler_options(self) -> Self:
        if self.sampler == "ddim" and self.variance_type is not None:
            raise ValueError("variance_type is an option of sampler=ddpm; ddim has eta")
        if self.sampler == "ddpm" and (self.eta or self.spacing != "leading"):
            raise ValueError("eta and spacing are options of sampler=ddim")
        return self
