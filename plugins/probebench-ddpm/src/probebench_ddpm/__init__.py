"""Diffusion models as backbones: pixel-space U-Nets, latent U-Nets and latent transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.api import BackboneSpec, hookimpl
from probebench_ddpm.options import DDPMOptions, DDPMRecipe, DDPMSampling, DDPMSeries, DiTOptions, LDMOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBEBENCH_API = 1


@hookimpl
def probebench_backbones() -> Iterator[BackboneSpec]:
    """Yields `ddpm`, `ldm` and `dit`."""
    yield BackboneSpec(
        name="ddpm",
        factory="probebench_ddpm.backbones.ddpm:DDPM",
        files="probebench_ddpm.loading.layout:files_of",
        options=DDPMOptions,
        summary="DDPM U-Net (4 levels, attention on or off) read at nine blocks and any noise level",
        requires=("diffusers>=0.32",),
        version=2,  # 2: networks narrower than 128 channels have fewer normalisation groups; new bundled weights
        citation="Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, arXiv 2006.11239",
        trainer="probebench_ddpm.training.trainer:train",
        recipe=DDPMRecipe,
        parallel=True,
        untrained=("weights=random", "checkpoint=none"),
        sampler="probebench_ddpm.sampling.sampler:sample",
        sampling=DDPMSampling,
        fetch="probebench_ddpm.loading.hub:fetch",
        series="probebench_ddpm.loading.series:members",
        series_options=DDPMSeries,
        finetunable=True,
    )
    yield BackboneSpec(
        name="ldm",
        factory="probebench_ddpm.backbones.latent:LDM",
        files="probebench_ddpm.loading.layout:files_of",
        options=LDMOptions,
        summary="latent diffusion U-Net with its autoencoder, with or without text: ldm:checkpoint=FOLDER",
        requires=("diffusers>=0.32",),
        citation="Rombach et al.: High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752",
        untrained=("weights=random",),
        fetch="probebench_ddpm.loading.hub:fetch",
    )
    yield BackboneSpec(
        name="dit",
        factory="probebench_ddpm.backbones.latent:DiT",
        files="probebench_ddpm.loading.layout:files_of",
        options=DiTOptions,
        summary="latent diffusion transformer with its autoencoder: dit:checkpoint=FOLDER",
        requires=("diffusers>=0.32",),
        citation="Peebles, Xie: Scalable Diffusion Models with Transformers, arXiv 2212.09748",
        untrained=("weights=random",),
        fetch="probebench_ddpm.loading.hub:fetch",
    )
