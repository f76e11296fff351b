"""Options of the probes; the documents in protocols/ set them as published work does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from probebench.api import Options, ViewOptions

if TYPE_CHECKING:
    from typing import Self

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]

SCHEDULE_DESCRIPTION = (
    "schedule of the learning rate: cosine decays towards 0 step by step, cosine-epochs epoch by epoch, step divides "
    "by 10 after every quarter of the epochs"
)


def check_views(options: ViewOptions, epochs: int) -> None:
    """Raises an error if a view would be extracted but never trained on.

    Raises:
        ValueError: There are more views than epochs.
    """
    if options.view_count > epochs:
        raise ValueError(f"views={options.views} needs {options.view_count} epochs or more, one for each view")


class KnnOptions(Options):
    """Options of `knn`."""

    distance: Literal["cosine", "euclidean"] = Field("cosine", description="distance between features")
    vote: Literal["temperature", "uniform"] = Field(
        "temperature",
        description="temperature: a neighbour has the weight exp(similarity / temperature); uniform: all have weight 1",
    )
    temperature: Positive = Field(
        0.07, description="lower values give the nearest neighbours more weight; unused with vote=uniform"
    )
    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 5, 10, 20, 50, 100, 200), min_length=1, description="numbers of neighbours to try; one is chosen on val"
    )


class LinearOptions(ViewOptions):
    """Options of `linear`."""

    learning_rates: tuple[Positive, ...] = Field(
        (0.1, 0.01), min_length=1, description="initial learning rates to try; one is chosen on val"
    )
    weight_decays: tuple[NotNegative, ...] = Field(
        (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
        min_length=1,
        description="factors of half the squared norm of the weights in the loss, to try; one is chosen on val",
    )
    epochs: int = Field(30, ge=1, description="passes over the train images")
    batch_size: int = Field(256, ge=1, description="images per step")
    inputs: Literal["standardized", "raw", "batchnorm"] = Field(
        "standardized",
        description="standardized: features have mean 0 and deviation 1 on train, weights start at zero; raw: features "
        "are unchanged, weights start as in nn.Linear; batchnorm: as raw, after batch normalisation without parameters",
    )
    schedule: Literal["cosine", "cosine-epochs", "step", "constant"] = Field("cosine", description=SCHEDULE_DESCRIPTION)
    optimizer: Literal["adam", "sgd"] = Field("adam", description="optimiser")
    momentum: Momentum = Field(0.0, description="momentum of SGD")

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        check_views(self, self.epochs)
        return self


class LogregOptions(Options):
    """Options of `logreg`."""

    cs: tuple[Positive, ...] = Field(
        (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        min_length=1,
        description="values of scikit-learn's C to try: factors of the summed loss beside half the squared norm of the "
        "weights; one is chosen on val, the first of equally good ones, so list the smallest first",
    )
    inputs: Literal["standardized", "raw"] = Field(
        "standardized",
        description="standardized: features have mean 0 and deviation 1 on train; raw: features are unchanged",
    )
    steps: int = Field(
        1000, ge=1, description="maximum number of L-BFGS steps; a warning names the fits that need more"
    )


class RidgeOptions(Options):
    """Options of `ridge`."""

    alphas: tuple[Positive, ...] = Field(
        (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2),
        min_length=1,
        description="values of scikit-learn's alpha to try: factors of the squared norm of the weights beside the "
        "summed squared error; one is chosen on val, the first of equally good ones, so list the largest first",
    )
    inputs: Literal["standardized", "raw"] = Field(
        "standardized",
        description="standardized: features have mean 0 and deviation 1 on train; raw: features are unchanged",
    )


class FewshotOptions(Options):
    """Options of `fewshot`."""

    probe: str = Field("logreg", description="probe to fit: the spec of any probe, such as knn or knn:ks=1")
    shots: AtLeastOne = Field(5, description="train images per class; of a smaller class, all")


class TrainingOptions(ViewOptions):
    """Training options of all networks."""

    learning_rates: tuple[Positive, ...] = Field(
        (1e-3, 3e-4), min_length=1, description="initial learning rates to try; one is chosen on val"
    )
    weight_decay: NotNegative = Field(0.05, description="weight decay: decoupled in AdamW, part of the loss in SGD")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="optimiser")
    momentum: Momentum = Field(0.0, description="momentum of SGD")
    schedule: Literal["cosine", "cosine-epochs", "step", "constant"] = Field("cosine", description=SCHEDULE_DESCRIPTION)
    epochs: AtLeastOne = Field(15, description="passes over the train images")
    batch_size: AtLeastOne = Field(128, description="images per step")

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        check_views(self, self.epochs)
        return self


class FinetuneOptions(TrainingOptions):
    """Options of `finetune`."""


class NetworkOptions(TrainingOptions):
    """Training options of `mlp`, `cnn` and `attention`."""

    inputs: Literal["standardized", "raw"] = Field(
        "standardized",
        description="standardized: each channel has mean 0 and deviation 1 on train; raw: features are unchanged",
    )


class MlpOptions(NetworkOptions):
    """Options of `mlp`."""

    widths: tuple[AtLeastOne, ...] = Field(
        (512,), min_length=1, description="widths of the hidden layers, each with ReLU"
    )


class CnnOptions(NetworkOptions):
    """Options of `cnn`."""

    widths: tuple[AtLeastOne, ...] = Field(
        (256, 256), min_length=1, description="channels after each 3 x 3 convolution, with normalisation and ReLU"
    )


class AttentionOptions(NetworkOptions):
    """Options of `attention`."""

    width: AtLeastOne = Field(256, description="width of a token")
    heads: AtLeastOne = Field(8, description="number of attention heads; the width is divisible by it")
    blocks: AtLeastOne = Field(2, description="number of transformer blocks")

    @model_validator(mode="after")
    def _check_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width={self.width} is not divisible by heads={self.heads}")
        return self
