"""The light module: declares the components of the plugin, and imports nothing heavy.

`probebench list` imports this module and no other of the plugin. A factory is imported when it is used.
"""

from collections.abc import Iterator

from pydantic import Field

from probebench.api import BackboneSpec, DatasetSpec, Options, ProbeSpec, hookimpl

PROBEBENCH_API = 1


class EdgeDirectionsOptions(Options):
    """Options of `edge-directions`."""

    directions: int = Field(8, ge=2, le=64, description="number of directions")


class ShapesOptions(Options):
    """Options of `shapes`."""

    train: int = Field(600, ge=10, description="number of train images")
    test: int = Field(300, ge=10, description="number of test images")


@hookimpl
def probebench_backbones() -> Iterator[BackboneSpec]:
    """Yields the backbone."""
    yield BackboneSpec(
        name="edge-directions",
        factory="probebench_example.edges:EdgeDirections",
        options=EdgeDirectionsOptions,
        summary="strength of the edges in each direction; no weights, no training",
    )


@hookimpl
def probebench_datasets() -> Iterator[DatasetSpec]:
    """Yields the dataset."""
    yield DatasetSpec(
        name="shapes",
        factory="probebench_example.shapes:Shapes",
        options=ShapesOptions,
        summary="circles, squares and triangles of any colour, 32x32, rendered on access",
    )


@hookimpl
def probebench_probes() -> Iterator[ProbeSpec]:
    """Yields the probe."""
    yield ProbeSpec(
        name="centroid",
        factory="probebench_example.centroid:Centroid",
        summary="the class whose mean feature is nearest",
    )
