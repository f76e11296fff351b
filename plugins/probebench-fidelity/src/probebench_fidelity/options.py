"""Options of the measures and of their extractor. No torch here: `probebench list` imports this module."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, model_validator

from probebench.api import Options, SampleOptions

if TYPE_CHECKING:
    from typing import Self

INCEPTION = "inception"
LAST_POOLED = "2048"
LOGITS = "logits_unbiased"

SEED = 2020
"""Seed of random subsets and parts: torch-fidelity's default, so that the numbers agree with its own."""

_EXTRACTOR = "inception, or any other backbone, in brackets where it has options: [timm:model=...,weights=...]"


class InceptionOptions(Options):
    """Options of `inception`."""

    locations: ClassVar[frozenset[str]] = frozenset({"weights"})

    weights: str = Field(
        "", description="file of the weights; empty: the file of torch-fidelity, which run --download fetches"
    )
    pretrained: bool = Field(True, description="false gives random weights")
    init_seed: int = Field(0, ge=0, description="seed of random weights")


class FIDOptions(SampleOptions):
    """Options of `fid`."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR)


class KIDOptions(SampleOptions):
    """Options of `kid`."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR)
    subsets: int = Field(100, ge=1, description="number of random subsets that are averaged")
    subset_size: int = Field(1000, ge=2, description="images in each subset")

    @model_validator(mode="after")
    def _check_subsets(self) -> Self:
        if self.subset_size > self.count:
            raise ValueError(f"subsets of {self.subset_size} images cannot be taken from count={self.count}")
        return self


class PRCOptions(SampleOptions):
    """Options of `prc`."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR)
    neighbours: int = Field(3, ge=1, description="rank of the neighbour at which the ball of an image ends")


class ISCOptions(SampleOptions):
    """Options of `isc`."""

    extractor: str = Field(INCEPTION, description=_EXTRACTOR + "; its features are interpreted as logits of classes")
    point: str = Field(LOGITS, description="TAP, TAP@LEVEL or TAP@LEVEL@POOL of the extractor")
    splits: int = Field(10, ge=1, description="number of parts of the images that are averaged")


def uses_default_features(options: SampleOptions) -> bool:
    """Returns whether the features are the last pooled ones of Inception, as the names fid and kid imply."""
    return options.extractor == INCEPTION and options.point in ("", LAST_POOLED)
