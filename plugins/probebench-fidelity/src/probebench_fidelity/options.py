"""Options of the measures and of their extractor. No torch here: `probebench list` reads this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from probebench.api import Options, SampleOptions

if TYPE_CHECKING:
    from typing import Self

INCEPTION = "inception"
LOGITS = "logits_unbiased"

_EXTRACTOR = "inception, or any other backbone, in brackets where it has options: [timm:model=...,weights=...]"


class InceptionOptions(Options):
    """Where the weights are."""

    places: ClassVar[frozenset[str]] = frozenset({"weights"})

    weights: str = Field(
        "", description="file of the weights; empty: where torch-fidelity keeps it, and run --download puts it"
    )
    pretrained: bool = Field(True, description="false gives random weights")
    init_seed: int = Field(0, ge=0, description="seed of random weights")


class FIDOptions(SampleOptions):
    """What the Frechet distance is taken on."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR)


class KIDOptions(SampleOptions):
    """What the kernel distance is taken on."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR)
    subsets: int = Field(100, ge=1, description="number of random subsets, over which the mean is taken")
    subset_size: int = Field(1000, ge=2, description="images in each")

    @model_validator(mode="after")
    def _subsets_fit(self) -> Self:
        if self.subset_size > self.count:
            raise ValueError(f"subsets of {self.subset_size} images cannot be taken from count={self.count}")
        return self


class PRCOptions(SampleOptions):
    """What precision and recall are taken on."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR)
    neighbours: int = Field(3, ge=1, description="an image's ball reaches to its neighbour of this rank")


class ISCOptions(SampleOptions):
    """What the Inception score is taken on."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR + "; its features are taken as logits of classes")
    point: str = Field(LOGITS, description="TAP, TAP@LEVEL or TAP@LEVEL@POOL of the extractor")
    splits: int = Field(10, ge=1, description="parts of the images, over which the mean is taken")
