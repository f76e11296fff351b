"""`fid`: the Frechet distance (Heusel et al. 2017, arXiv 1706.08500)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

from probebench.api import ImageSet, Measured, ProbebenchWarning, SampleProbe
from probebench_fidelity.options import uses_default_features

if TYPE_CHECKING:
    from torch import Tensor

    from probebench_fidelity.options import FIDOptions


class FrechetDistance(SampleProbe):
    """Distance of two Gaussians that have the means and covariances of the features.

    It is called `fid` on the last pooled features of Inception, and `fd` on any others.
    """

    def __init__(self, options: FIDOptions) -> None:
        self._name = "fid" if uses_default_features(options) else "fd"

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        """Returns the distance: lower is better. Its bias is upwards, and larger for fewer images."""
        count, width = generated.features.shape
        if min(count, len(real.features)) <= width:
            warnings.warn(
                f"{self._name} of {count:,} images with {width:,} features: with no more images than features it is "
                "far above that of many images; compare it to that of real images",
                ProbebenchWarning,
                stacklevel=2,
            )
        return {self._name: Measured(frechet_distance(generated.features, real.features))}


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Returns torch-fidelity's distance, with means in float64 as well as covariances.

    Args:
        first: ``(N, D)``.
        second: ``(M, D)``.
    """
    statistics = [fid_features_to_statistics(features.double()) for features in (first, second)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])
