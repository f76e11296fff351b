"""`isc`: the Inception score (Salimans et al. 2016, arXiv 1606.03498)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from probebench.api import ImageSet, Measured, SampleProbe, UsageError
from probebench_fidelity.options import SEED

if TYPE_CHECKING:
    from probebench_fidelity.options import ISCOptions


class InceptionScore(SampleProbe):
    """Exponential of the mean divergence of a classifier's predictions from their mean, over parts of the images."""

    def __init__(self, options: ISCOptions) -> None:
        self._splits = options.splits

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:  # noqa: ARG002 - it has no reference
        """Returns the score: higher is better, from 1 to the number of classes. That of real images is an upper limit.

        Raises:
            UsageError: There are fewer images than parts.
        """
        count = len(generated.features)
        if count < self._splits:
            raise UsageError(
                f"{count} images cannot be divided into {self._splits} parts",
                where="option splits of isc",
                hint=f"isc:count=2000 for more images, or isc:splits={count}",
            )
        results = isc_features_to_metric(generated.features, self._splits, shuffle=True, rng_seed=SEED)
        return {"isc": Measured(results[KEY_METRIC_ISC_MEAN], higher_is_better=True, sd=results[KEY_METRIC_ISC_STD])}
