"""Options of the datasets that can be downloaded. Light: every command imports it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from probebench.api import Options


class RootOptions(Options):
    """Options of a dataset that lies in the data root."""

    places: ClassVar[frozenset[str]] = frozenset({"root"})

    root: str = Field("", description="data root; by default PROBEBENCH_DATA, else the folder for a user's data")


class CifarOptions(RootOptions):
    """Options of `cifar10` and `cifar100`."""


class SVHNOptions(RootOptions):
    """Options of `svhn`."""


class STL10Options(RootOptions):
    """Options of `stl10`."""

    added: ClassVar[frozenset[str]] = frozenset({"image_size"})

    fold: Literal["all"] | Annotated[int, Field(ge=0, le=9)] = Field(
        "all", description="one of the ten published folds of 1,000 train images, or all 5,000"
    )
    image_size: int = Field(
        96, ge=8, le=1024, description="resized to N x N, antialiased; published diffusion models take 32 or 64"
    )


class FashionMNISTOptions(RootOptions):
    """Options of `fashion-mnist`."""

    image_size: int | None = Field(
        None, ge=8, le=224, description="resized to N x N, antialiased; U-Nets want multiples of 8, such as 32"
    )
