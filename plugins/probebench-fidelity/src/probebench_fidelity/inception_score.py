"""`isc`: the Inception score (Salimans et al. 2016, arXiv 1606.03498)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

from probebench.api import ImageSet, Measured, SampleProbe, UsageError
from probebench_fidelity.kernel_distance import SEED

if TYPE_CHECKING:
    from probebench_fidelity.options import ISCOptions


class InceptionScore(SampleProbe):
    """exp of the mean divergence of a classifier's answers from their mean, over parts of the images."""

    def __init__(self, options: ISCOptions) -> None:
        self._splits = options.splits

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:  # noqa: ARG002 - it has no reference
        """Higher is better, from 1 to the number of classes. The floor is then a ceiling: what real images score.

        Raises:
            UsageError: There are fewer images than parts.
        """
        if len(drawn.features) < self._splits:
            raise UsageError(
                f"{len(drawn.features)} images cannot be divided into {self._splits} parts",
                where="option splits of isc",
                hint=f"splits={len(drawn.features)} or less, or more images with count=",
            )
        found = isc_features_to_metric(drawn.features, self._splits, shuffle=True, rng_seed=SEED)
        return {"isc": Measured(found[KEY_METRIC_ISC_MEAN], higher_is_better=True, sd=found[KEY_METRIC_ISC_STD])}
