"""Options of the backbones and of the training. No torch here: `probebench list` reads this module."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from probebench.api import Options

STEPS = 1000
"""Steps of the forward process, of Ho et al. 2020 as of nearly every checkpoint since."""

Prediction = Literal["epsilon", "v"]
Schedule = Literal["linear", "cosine"]


Weights = Annotated[
    Literal["ema", "raw", "random"],
    Field(description="the checkpoint's averaged or last weights, or its network with random ones"),
]
InitSeed = Annotated[int, Field(ge=0, description="seed of random weights")]
Noise = Annotated[
    Literal["per-sample", "shared", "mean", "none"],
    Field(
        description="noise added at level t: one draw per image, one for all images, features averaged over several "
        "draws, or none (t is fed all the same)"
    ),
]
Draws = Annotated[int, Field(ge=2, le=64, description="number of draws that noise=mean averages over")]


class DDPMOptions(Options):
    """Which U-Net, which weights, and how an image is noised before it is read."""

    added: ClassVar[frozenset[str]] = frozenset({"scale"})

    checkpoint: str = Field(
        "scattered-digits",
        description="bundled weights by name; a training run, folder or file; hub:owner/name@revision; or none",
    )
    attention: bool = Field(True, description="self-attention at the second level and in the middle, or nowhere")
    widths: tuple[int, ...] = Field(
        (), description="channels of the four levels; empty: as the checkpoint has them, 32+64+64+64 for a new network"
    )
    weights: Weights = "ema"
    init_seed: InitSeed = 0
    noise: Noise = "per-sample"
    draws: Draws = 4
    scale: float = Field(
        1.0,
        gt=0,
        le=2,
        description="black and white are -scale and scale to the network; 1 but for the study of a wrong one",
    )

    @field_validator("widths")
    @classmethod
    def _four_levels(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if widths and (len(widths) != 4 or min(widths) < 4 or any(width % 4 for width in widths)):
            raise ValueError("should be four multiples of 4, such as 32+64+64+64")
        return widths


class LatentOptions(Options):
    """Which checkpoint of a latent diffusion model, which weights, and how an image's latents are noised."""

    checkpoint: str = Field(
        "", description="folder as diffusers' save_pretrained writes it, or hub:owner/name@revision"
    )
    weights: Weights = "ema"
    init_seed: InitSeed = 0
    noise: Noise = "per-sample"
    draws: Draws = 4


class DiTOptions(LatentOptions):
    """Those of a diffusion transformer."""


class LDMOptions(LatentOptions):
    """Those of a latent U-Net, which may be told a text."""

    prompt: Literal["empty", "zeros"] = Field(
        "empty",
        description="text that a network of text and image is told: the empty one through the checkpoint's own text "
        "encoder, or zeros in its place",
    )


class DDPMSeries(Options):
    """Which checkpoints of a training run a series has."""

    run: str = Field("", description="folder of a training run: each checkpoint is a backbone of the series")
    epochs: tuple[int, ...] = Field((), description="those of them that are meant, such as 1+5+10; or all")

    @field_validator("epochs", mode="before")
    @classmethod
    def _all(cls, epochs: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        return () if epochs == ["all"] else epochs

    @model_validator(mode="after")
    def _names_a_run(self) -> Self:
        if self.epochs and not self.run:
            raise ValueError("epochs are those of a run: run=FOLDER,epochs=...")
        return self


class DDPMRecipe(Options):
    """How `probebench train ddpm` trains; defaults follow Ho et al. 2020 (arXiv 2006.11239), section 4, appendix B."""

    # Runs from before these go on, and keep their place in a curve.
    added: ClassVar[frozenset[str]] = frozenset({"prediction", "schedule", "min_snr", "holdout"})

    lr: float = Field(1e-4, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    batch_size: int = Field(128, ge=1, description="images per optimiser step")
    warmup: int = Field(500, ge=0, description="steps of linear learning-rate warm-up")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout inside the residual layers")
    ema: float = Field(0.9999, ge=0, lt=1, description="decay of the weight average, reached by a warm-up")
    prediction: Prediction = Field("epsilon", description="what the network predicts: the noise, or v")
    schedule: Schedule = Field("linear", description="of the noise: linear in beta, or cosine in the signal's share")
    min_snr: float = Field(0.0, ge=0, description="gamma of min-SNR loss weights, such as 5; 0: all steps weigh alike")
    accumulate: int = Field(
        1, ge=1, description="parts of a batch, worked on one after the other: less memory for the same step"
    )
    holdout: int = Field(
        0, ge=0, description="train images that are not trained on but measured; 0: those of the dataset's val, if any"
    )
    save_every: int = Field(10, ge=1, description="epochs between checkpoints")
    save_early: bool = Field(False, description="also save epochs 1, 2, 4, 8, ... before the first of those")
    tensorboard: bool = Field(False, description="also write the curves for TensorBoard, into the run's folder")

    @model_validator(mode="after")
    def _parts_are_not_empty(self) -> Self:
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate={self.accumulate} leaves parts of a batch of {self.batch_size} empty")
        return self

    def identity(self) -> dict[str, Any]:
        """What of the recipe the network depends on: another one of it is another run."""
        aside = {"accumulate", "save_every", "save_early", "tensorboard"}
        return self.model_dump(mode="json", exclude=aside | self.unsaid())

    def saves(self, epoch: int) -> bool:
        """Whether a checkpoint is kept of an epoch, counted from 1."""
        early = self.save_early and epoch < self.save_every and epoch & (epoch - 1) == 0
        return early or epoch % self.save_every == 0


class DDPMSampling(Options):
    """How `probebench sample` draws from a U-Net."""

    sampler: Literal["ddim", "ddpm"] = Field(
        "ddim", description="ddim of Song et al. 2020, or the ancestral sampling of Ho et al. 2020"
    )
    steps: int = Field(50, ge=1, description="calls of the network, a divisor of the trained steps; ddpm: 1000")
    eta: float = Field(0.0, ge=0, le=1, description="ddim: noise added in each step, from none (0) to ddpm's (1)")
    spacing: Literal["leading", "trailing"] = Field(
        "leading",
        description="ddim: of 20 steps at 0, 50, ... 950 (leading, as published) or at 49, 99, ... 999 (trailing)",
    )
    variance_type: Literal["fixed_small", "fixed_large"] | None = Field(
        None, description="ddpm: variance of a step's noise; fixed_large with 1000 steps, fixed_small with fewer"
    )
    clip: bool | None = Field(
        None, description="clip the predicted image to -1..1 in each step; none: as the checkpoint's schedule says"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_for_ddpm(cls, data: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        if not isinstance(data, dict) or data.get("sampler") != "ddpm":
            return data
        steps = data.get("steps", STEPS)
        variance = "fixed_large" if str(steps) == str(STEPS) else "fixed_small"
        return {**data, "steps": steps, "variance_type": data.get("variance_type") or variance}

    @model_validator(mode="after")
    def _has_no_foreign_option(self) -> Self:
        if self.sampler == "ddim" and self.variance_type is not None:
            raise ValueError("variance_type is an option of sampler=ddpm; ddim has eta")
        if self.sampler == "ddpm" and (self.eta or self.spacing != "leading"):
            raise ValueError("eta and spacing are options of sampler=ddim")
        return self
