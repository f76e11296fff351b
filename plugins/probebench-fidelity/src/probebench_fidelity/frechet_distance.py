"""`fid`: the Frechet distance (Heusel et al. 2017, arXiv 1706.08500)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from probebench.api import ImageSet, Measured, ProbebenchWarning, SampleProbe
from probebench_fidelity.options import INCEPTION

if TYPE_CHECKING:
    from torch import Tensor

    from probebench_fidelity.options import FIDOptions


class FrechetDistance(SampleProbe):
    """Distance of two Gaussians that have the features' means and covariances.

    It is called `fid` on the last pooled features of Inception, and `fd` on any others.
    """

    def __init__(self, options: FIDOptions) -> None:
        self._name = "fid" if options.extractor == INCEPTION and options.point in ("", "2048") else "fd"

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        """Lower is better. The number is biased upwards, the more the fewer images there are."""
        count, width = drawn.features.shape
        if min(count, len(real.features)) <= width:
            warnings.warn(
                f"{self._name} of {count:,} images with {width:,} features: with no more images than features it is "
                "far above that of many images; look at it beside the floor",
                ProbebenchWarning,
                stacklevel=2,
            )
        return {self._name: Measured(frechet_distance(drawn.features, real.features))}


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """torch-fidelity's distance, with its means in float64 as well as its covariances.

    Args:
        first: ``(N, D)``.
        second: ``(M, D)``.
    """
    statistics = [fid_features_to_statistics(features.double()) for features in (first, second)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])
