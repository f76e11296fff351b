"""Options of the probes, and the presets that reproduce published protocols."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads the annotations at run time
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from probebench.api import Options

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class PresetOptions(Options):
    """Options with a field ``protocol`` that fixes others.

    A preset's fields need not be given; where they are, they must have the preset's values, so that a record's full
    options can be read back and a number never carries the name of a protocol it did not follow.
    """

    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    protocol: str = "default"

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, data: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        if not isinstance(data, dict):
            return data
        return {**cls.presets.get(str(data.get("protocol")), {}), **data}

    @model_validator(mode="after")
    def _keep_preset(self) -> Self:
        for name, value in self.presets.get(self.protocol, {}).items():
            if getattr(self, name) != value:
                raise ValueError(f"protocol={self.protocol} fixes {name}={_text(value)}: leave {name} or protocol out")
        return self


class KnnOptions(PresetOptions):
    """Options of `knn`."""

    # The thesis states k only. Distance and vote are those of scikit-learn's KNeighborsClassifier as it comes, the
    # plainest reading. For Flowers-102 the thesis used k = 5: give distance, vote and ks=5 under the default protocol.
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "thesis2024": {"distance": "euclidean", "vote": "uniform", "ks": (50,)}
    }

    protocol: Literal["default", "thesis2024"] = Field(
        "default", description="thesis2024: k = 50, euclidean, uniform; only k is stated there, the rest is our reading"
    )
    distance: Literal["cosine", "euclidean"] = Field("cosine", description="what makes a train image near")
    vote: Literal["temperature", "uniform"] = Field(
        "temperature", description="temperature: exp(similarity / temperature); uniform: one neighbour, one vote"
    )
    temperature: Positive = Field(0.07, description="the lower, the more the nearest count; unused by uniform votes")
    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1, 5, 10, 20, 50, 100, 200), min_length=1, description="numbers of neighbours, chosen from on val"
    )


class LinearOptions(PresetOptions):
    """Options of `linear`."""

    # The thesis states one fully connected layer, 30 epochs and Adam with 1e-3, on a frozen backbone. Batch size: 128,
    # as in the linear probe of DDAE (arXiv 2303.09769), which the thesis follows in taps and optimiser. The rest is
    # what PyTorch does when nothing is said: the initial weights of nn.Linear, no decay, no schedule, raw features.
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {
        "thesis2024": {
            "learning_rates": (1e-3,),
            "weight_decays": (0.0,),
            "epochs": 30,
            "batch_size": 128,
            "inputs": "raw",
            "schedule": "constant",
        }
    }

    protocol: Literal["default", "thesis2024"] = Field(
        "default",
        description="thesis2024: 30 epochs of Adam 1e-3 on raw features; the batch size is not stated there, 128 is "
        "our reading",
    )
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


def _text(value: object) -> str:
    """A value as it is written on the command line."""
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
