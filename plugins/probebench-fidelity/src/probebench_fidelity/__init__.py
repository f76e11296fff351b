"""Measures of generated images, computed by torch-fidelity, and their usual extractor, an Inception network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.api import BackboneSpec, ProbeSpec, hookimpl
from probebench_fidelity.options import FIDOptions, InceptionOptions, ISCOptions, KIDOptions, PRCOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBEBENCH_API = 1

_REQUIRES = ("torch-fidelity>=0.4,<0.5",)


@hookimpl
def probebench_backbones() -> Iterator[BackboneSpec]:
    """Yields `inception`, the extractor of the published numbers."""
    yield BackboneSpec(
        name="inception",
        factory="probebench_fidelity.inception:Inception",
        options=InceptionOptions,
        summary="the InceptionV3 of FID, as in torch-fidelity; the default extractor of fid",
        requires=_REQUIRES,
        license="Apache-2.0 (weights: converted by torch-fidelity from TensorFlow's)",
        citation="Szegedy et al.: Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567",
        untrained=("pretrained=false",),
        fetch="probebench_fidelity.inception_weights:fetch",
    )


@hookimpl
def probebench_probes() -> Iterator[ProbeSpec]:
    """Yields `fid`, `kid`, `prc` and `isc`."""
    yield ProbeSpec(
        name="fid",
        consumes="samples",
        factory="probebench_fidelity.frechet_distance:FrechetDistance",
        options=FIDOptions,
        summary="Frechet distance between Gaussians fitted to the features of generated and of real images",
        requires=_REQUIRES,
        citation="Heusel et al.: GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500",
    )
    yield ProbeSpec(
        name="kid",
        consumes="samples",
        factory="probebench_fidelity.kernel_distance:KernelDistance",
        options=KIDOptions,
        summary="kernel distance (unbiased squared MMD, cubic kernel) between features of generated and real images",
        requires=_REQUIRES,
        citation="Binkowski et al.: Demystifying MMD GANs, arXiv 1801.01401",
    )
    yield ProbeSpec(
        name="prc",
        consumes="samples",
        factory="probebench_fidelity.precision_recall:PrecisionRecall",
        options=PRCOptions,
        summary="precision and recall: generated images near real ones, and real images near generated ones",
        requires=_REQUIRES,
        citation="Kynkäänniemi et al.: Improved Precision and Recall Metric, arXiv 1904.06991",
    )
    yield ProbeSpec(
        name="isc",
        consumes="samples",
        factory="probebench_fidelity.inception_score:InceptionScore",
        options=ISCOptions,
        summary="Inception score: confidence of a classifier on each generated image, and diversity of its predictions",
        requires=_REQUIRES,
        citation="Salimans et al.: Improved Techniques for Training GANs, arXiv 1606.03498",
    )
