"""Every timm model as a backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.api import BackboneSpec, hookimpl
from probebench_timm.options import TimmOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBEBENCH_API = 1


@hookimpl
def probebench_backbones() -> Iterator[BackboneSpec]:
    """Yields `timm`."""
    yield BackboneSpec(
        name="timm",
        factory="probebench_timm.backbone:Timm",
        files="probebench_timm.packaged_weights:weight_files",
        options=TimmOptions,
        summary="any timm model, with random weights or weights from a file; taps at its stages or blocks",
        requires=("timm>=1.0.31",),
        license="see the model card for the license of the weights",
        citation="Wightman: PyTorch Image Models, doi 10.5281/zenodo.4414861",
        untrained=("weights=none",),
    )
