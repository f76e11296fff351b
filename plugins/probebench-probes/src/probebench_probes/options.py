"""Options of the probes; protocols/ sets them as published work does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from probebench.api import Options

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


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


class LinearOptions(Options):
    """Options of `linear`."""

    learning_rates: tuple[Positive, ...] = Field(
        (0.1, 0.01), min_length=1, description="Adam's learning rates, chosen from on val"
    )
    weight_decays: tuple[NotNegative, ...] = Field(
        (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6),
        min_length=1,
        description="factors of half the squared length of the weights in the loss, chosen from on val",
    )
    epochs: int = Field(30, ge=1, description="passes over the train images")
    batch_size: int = Field(256, ge=1, description="images a step")
    inputs: Literal["standardized", "raw"] = Field(
        "standardized",
        description="standardized: mean 0 and deviation 1 on train, and weights that start at zero; raw: as they are, "
        "and the initial weights of nn.Linear",
    )
    schedule: Literal["cosine", "constant"] = Field("cosine", description="of the learning rate, by step, down to 0")


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
