"""Options of the probes; protocols/ sets them as published work does."""

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

SCHEDULES = (
    "of the learning rate: cosine falls towards 0 from step to step, cosine-epochs from epoch to epoch, step to a "
    "tenth after every quarter of the epochs"
)


def check_views(options: ViewOptions, epochs: int) -> None:
    """Raises an error where a view would be read and never trained on.

    Raises:
        ValueError: There are more views than epochs.
    """
    if options.view_count > epochs:
        raise ValueError(f"views={options.views} needs {options.view_count} epochs or more, one for each view")


class KnnOptions(Options):
    """Options of `knn`."""

    distance: Literal["cosine", "euclidean"] = Field("cosine", description="what makes a train image near")
    vote: Literal["temperature", "uniform"] = Field(
        "temperature", description="temperature: exp(similarity / temperature); uniform: one neighbour, one vote"
    )
    temperature: Positive = Field(0.07, description="the lower, the more the nearest count; unused by uniform votes")
    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 5, 10, 20, 50, 100, 200), min_length=1, description="numbers of neighbours, chosen from on val"
    )


class LinearOptions(ViewOptions):
    """Options of `linear`."""

    learning_rates: tuple[Positive, ...] = Field(
        (0.1, 0.01), min_length=1, description="before the schedule, chosen from on val"
    )
    weight_decays: tuple[NotNegative, ...] = Field(
        (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
        min_length=1,
        description="factors of half the squared length of the weights in the loss, chosen from on val",
    )
    epochs: int = Field(30, ge=1, description="passes over the train images")
    batch_size: int = Field(256, ge=1, description="images a step")
    inputs: Literal["standardized", "raw", "batchnorm"] = Field(
        "standardized",
        description="standardized: mean 0 and deviation 1 on train, and weights that start at zero; raw: as they are, "
        "and the initial weights of nn.Linear; batchnorm: as raw, behind batch normalisation without parameters",
    )
    schedule: Literal["cosine", "cosine-epochs", "step", "constant"] = Field("cosine", description=SCHEDULES)
    optimizer: Literal["adam", "sgd"] = Field("adam", description="what makes the steps")
    momentum: Momentum = Field(0.0, description="of SGD")

    @model_validator(mode="after")
    def _every_view_is_seen(self) -> Self:
        check_views(self, self.epochs)
        return self


class LogregOptions(Options):
    """Options of `logreg`."""

    cs: tuple[Positive, ...] = Field(
        (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        min_length=1,
        description="scikit-learn's C: factors of the summed loss beside half the squared length of the weights, "
        "chosen from on val; of equals the first wins, so give the smallest first",
    )
    inputs: Literal["standardized", "raw"] = Field(
        "standardized",
        description="standardized: mean 0 and deviation 1 on train; raw: C speaks of features as they are",
    )
    steps: int = Field(1000, ge=1, description="most steps of L-BFGS; a fit that needs more is told of")


class RidgeOptions(Options):
    """Options of `ridge`."""

    alphas: tuple[Positive, ...] = Field(
        (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2),
        min_length=1,
        description="scikit-learn's alpha: factors of the squared length of the weights beside the summed squared "
        "error, chosen from on val; of equals the first wins, so give the largest first",
    )
    inputs: Literal["standardized", "raw"] = Field(
        "standardized",
        description="standardized: mean 0 and deviation 1 on train; raw: alpha speaks of features as they are",
    )


class FewshotOptions(Options):
    """Options of `fewshot`."""

    probe: str = Field("logreg", description="what is fitted: the spec of any probe, such as knn or knn:ks=1")
    shots: AtLeastOne = Field(5, description="train images of each class; of a smaller class all")


class TrainingOptions(ViewOptions):
    """How a network is trained."""

    learning_rates: tuple[Positive, ...] = Field((1e-3, 3e-4), min_length=1, description="chosen from on val")
    weight_decay: NotNegative = Field(0.05, description="of AdamW, decoupled; of SGD, in the loss")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="what makes the steps")
    momentum: Momentum = Field(0.0, description="of SGD")
    schedule: Literal["cosine", "cosine-epochs", "step", "constant"] = Field("cosine", description=SCHEDULES)
    epochs: AtLeastOne = Field(15, description="passes over the train images")
    batch_size: AtLeastOne = Field(128, description="images a step")

    @model_validator(mode="after")
    def _every_view_is_seen(self) -> Self:
        check_views(self, self.epochs)
        return self


class FinetuneOptions(TrainingOptions):
    """Options of `finetune`."""


class NetworkOptions(TrainingOptions):
    """How the networks `mlp`, `cnn` and `attention` are trained."""

    inputs: Literal["standardized", "raw"] = Field(
        "standardized", description="standardized: each channel has mean 0 and deviation 1 on train; raw: as they are"
    )


class MlpOptions(NetworkOptions):
    """Options of `mlp`."""

    widths: tuple[AtLeastOne, ...] = Field((512,), min_length=1, description="of the hidden layers, with ReLU")


class CnnOptions(NetworkOptions):
    """Options of `cnn`."""

    widths: tuple[AtLeastOne, ...] = Field(
        (256, 256), min_length=1, description="channels after each 3 x 3 convolution, with normalisation and ReLU"
    )


class AttentionOptions(NetworkOptions):
    """Options of `attention`."""

    width: AtLeastOne = Field(256, description="of a token")
    heads: AtLeastOne = Field(8, description="of the attention; they divide the width")
    blocks: AtLeastOne = Field(2, description="of the transformer")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self
