"""DDPM U-Nets as backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.api import BackboneSpec, hookimpl
from probebench_ddpm.options import DDPMOptions, DDPMRecipe, DDPMSampling, DDPMSeries

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBEBENCH_API = 1


@hookimpl
def probebench_backbones() -> Iterator[BackboneSpec]:
    """Yields `ddpm`."""
    yield BackboneSpec(
        name="ddpm",
        factory="probebench_ddpm.backbone:DDPM",
        options=DDPMOptions,
        summary="DDPM U-Net (4 levels, attention on or off) read at nine blocks and any noise level",
        requires=("diffusers>=0.32",),
        version=2,  # 2: networks narrower than 128 channels have fewer groups to normalise over; new bundled weights
        citation="Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, arXiv 2006.11239",
        trainer="probebench_ddpm.training:train",
        recipe=DDPMRecipe,
        parallel=True,
        untrained=("weights=random", "checkpoint=none"),
        sampler="probebench_ddpm.sampling:sample",
        sampling=DDPMSampling,
        fetch="probebench_ddpm.hub:fetch",
        series="probebench_ddpm.series:members",
        series_options=DDPMSeries,
        tunes=True,
    )
