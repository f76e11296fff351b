"""Options of the datasets that a user points at. Light: every command imports it."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from probebench.api import Options
from probebench_datasets.published_options import RootOptions

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class PathOptions(Options):
    """Options of a dataset that lies in a folder or file of the user's."""

    places: ClassVar[frozenset[str]] = frozenset({"path"})
    alias: ClassVar[str] = "name"

    path: str = Field("", description="folder or file that holds the images")
    name: str = Field("", description="what to call it on boards; by default the name of the folder or file")
    image_size: int | None = Field(
        None, ge=1, le=4096, description="shorter side resized to N, antialiased, and the centre N x N cut out"
    )
    seed: int = Field(0, ge=0, description="seed of the test part that is set aside where the data has none")

    @model_validator(mode="before")
    @classmethod
    def _name_from_path(cls, data: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        if isinstance(data, dict) and isinstance(data.get("path"), str) and data["path"] and not data.get("name"):
            last = os.path.basename(os.path.abspath(os.path.expanduser(data["path"])))  # noqa: PTH100, PTH111, PTH119
            plain = (
                unicodedata.normalize("NFKD", last.lower().removesuffix(".parquet")).encode("ascii", "ignore").decode()
            )
            if not (words := re.findall(r"[a-z0-9]+", plain)):
                raise ValueError(f"{last!r} has no letter from a to z to make a name of: say name=...")
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


class Flowers102Options(RootOptions):
    """Options of `flowers102`."""

    image_size: int = Field(
        64, ge=8, le=1024, description="shorter side resized to N, antialiased, and the centre N x N cut out"
    )
