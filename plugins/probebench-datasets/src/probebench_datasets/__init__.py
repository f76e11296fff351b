"""Datasets that need no download, and raw pixels as the floor of every board."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from probebench.api import BackboneSpec, DatasetSpec, Options, hookimpl
from probebench_datasets.catalogue import PUBLISHED
from probebench_datasets.options import Flowers102Options, ImageFolderOptions, ParquetOptions

PROBEBENCH_API = 1


class ScatteredDigitsOptions(Options):
    """Options of `scattered-digits`."""

    added: ClassVar[frozenset[str]] = frozenset({"image_size"})

    train: int = Field(6000, ge=10, le=100_000, description="number of train scenes")
    test: int = Field(2000, ge=10, le=100_000, description="number of test scenes")
    image_size: int = Field(16, ge=8, le=64, description="resized from 16 x 16 to N x N, antialiased")


class PixelsOptions(Options):
    """Options of `pixels`."""

    grid: Literal["full"] | Annotated[int, Field(ge=1)] = Field(
        "full", description="average the image to N x N first, or leave it full"
    )


@hookimpl
def probebench_datasets() -> Iterator[DatasetSpec]:
    """Yields the embedded datasets."""
    yield DatasetSpec(
        name="scattered-digits",
        factory="probebench_datasets.bundled.digits:ScatteredDigits",
        options=ScatteredDigitsOptions,
        summary="real handwritten digits at random places and in random colours, 16x16 RGB, 6000 train / 2000 test",
        requires=("scikit-learn>=1.5",),
        license="CC-BY-4.0 (UCI Optical Recognition of Handwritten Digits)",
        citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
    )
    yield DatasetSpec(
        name="digits",
        factory="probebench_datasets.bundled.digits:Digits",
        summary="the same digits, plain and grey, 8x8, 1437 train / 360 test",
        requires=("scikit-learn>=1.5",),
        license="CC-BY-4.0 (UCI Optical Recognition of Handwritten Digits)",
        citation="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
    )
    yield DatasetSpec(
        name="imagefolder",
        factory="probebench_datasets.user_data.imagefolder:ImageFolder",
        options=ImageFolderOptions,
        summary="your images in a folder for each class: imagefolder:path=FOLDER",
        requires=("pillow>=10.1",),
    )
    yield DatasetSpec(
        name="parquet",
        factory="probebench_datasets.user_data.parquet:Parquet",
        options=ParquetOptions,
        summary="your images in Parquet files as the Hugging Face hub has them: parquet:path=FOLDER",
        requires=("pillow>=10.1", "pyarrow>=15"),
    )
    yield DatasetSpec(
        name="flowers102",
        factory="probebench_datasets.published.flowers102:Flowers102",
        options=Flowers102Options,
        fetch="probebench_datasets.published.flowers102:fetch",
        summary="Oxford Flowers-102, 102 kinds, resized to 64x64, 1020 train / 1020 val / 6149 test; download",
        requires=("pillow>=10.1", "scipy>=1.11"),
        citation="Nilsback and Zisserman, Automated flower classification over a large number of classes, ICVGIP 2008",
    )
    yield from PUBLISHED


@hookimpl
def probebench_backbones() -> Iterator[BackboneSpec]:
    """Yields the floor, and the ceiling of `scattered-digits`."""
    yield BackboneSpec(
        name="pixels",
        factory="probebench_datasets.backbones.pixels:Pixels",
        options=PixelsOptions,
        summary="the image itself, optionally averaged to a grid: what every backbone has to beat",
        floor=True,
    )
    yield BackboneSpec(
        name="digits-classifier",
        factory="probebench_datasets.backbones.digits_classifier:DigitsClassifier",
        summary="a small network taught to read scattered-digits: its ceiling, and a judge of drawn digits",
        license="CC-BY-4.0 (UCI Optical Recognition of Handwritten Digits)",
    )
