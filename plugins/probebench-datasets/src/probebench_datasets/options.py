"""Options of all components. Light: every command imports it."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from probebench.api import Options

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ScatteredDigitsOptions(Options):
    """Options of `scattered-digits`."""

    added: ClassVar[frozenset[str]] = frozenset({"image_size"})

    train: int = Field(6000, ge=10, le=100_000, description="number of train images")
    test: int = Field(2000, ge=10, le=100_000, description="number of test images")
    image_size: int = Field(16, ge=8, le=64, description="height and width N; resized from 16 x 16, antialiased")


class RootOptions(Options):
    """Options of a dataset that is stored in the data root."""

    locations: ClassVar[frozenset[str]] = frozenset({"root"})

    root: str = Field(
        "", description="data root; by default PROBEBENCH_DATA, or the platform's folder for the user's data"
    )


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
        96, ge=8, le=1024, description="resized to N x N, antialiased; published diffusion models use 32 or 64"
    )


class FashionMNISTOptions(RootOptions):
    """Options of `fashion-mnist`."""

    image_size: int | None = Field(
        None, ge=8, le=224, description="resized to N x N, antialiased; U-Nets need a multiple of 8, such as 32"
    )


class Flowers102Options(RootOptions):
    """Options of `flowers102`."""

    image_size: int = Field(
        64, ge=8, le=1024, description="shorter side resized to N, antialiased, then the centre N x N cropped"
    )


class PathOptions(Options):
    """Options of a dataset in a folder or file of the user."""

    locations: ClassVar[frozenset[str]] = frozenset({"path"})
    alias: ClassVar[str] = "name"

    path: str = Field("", description="folder or file of the images")
    name: str = Field("", description="name on leaderboards; by default the name of the folder or file")
    image_size: int | None = Field(
        None, ge=1, le=4096, description="shorter side resized to N, antialiased, then the centre N x N cropped"
    )
    seed: int = Field(0, ge=0, description="seed of the test split that is held out where the data has none")

    @model_validator(mode="before")
    @classmethod
    def _name_from_path(cls, data: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        if isinstance(data, dict) and isinstance(data.get("path"), str) and data["path"] and not data.get("name"):
            last = os.path.basename(os.path.abspath(os.path.expanduser(data["path"])))  # noqa: PTH100, PTH111, PTH119
            plain = (
                unicodedata.normalize("NFKD", last.lower().removesuffix(".parquet")).encode("ascii", "ignore").decode()
            )
            if not (words := re.findall(r"[a-z0-9]+", plain)):
                raise ValueError(f"{last!r} has no letter from a to z, so the dataset needs a name: add name=my-images")
            return data | {"name": "-".join(words)}
        return data

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if name and not _NAME.fullmatch(name):
            raise ValueError("should be lower-case words joined by hyphens, such as my-birds")
        return name


class ImageFolderOptions(PathOptions):
    """Options of `imagefolder`."""


class ParquetOptions(PathOptions):
    """Options of `parquet`."""


class PixelsOptions(Options):
    """Options of the backbone `pixels`."""

    grid: Literal["full"] | Annotated[int, Field(ge=1)] = Field(
        "full", description="average the image over a grid of N x N cells; full: every pixel"
    )
