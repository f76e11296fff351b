"""`prc`: precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch_fidelity.metric_prc import (
    KEY_METRIC_F_SCORE,
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from probebench.api import ImageSet, Measured, SampleProbe, UsageError

if TYPE_CHECKING:
    from probebench_fidelity.options import PRCOptions


class PrecisionRecall(SampleProbe):
    """Precision: the share of drawn images inside the ball of a real one. Recall: the other way round.

    A ball reaches to the image's neighbour of a given rank among its own kind. So both numbers depend on how many
    images there are of each kind.
    """

    def __init__(self, options: PRCOptions) -> None:
        self._neighbours = options.neighbours

    def measure(self, drawn: ImageSet, real: ImageSet) -> dict[str, Measured]:
        """Higher is better; all three lie from 0 to 1.

        Raises:
            UsageError: There are not more images than neighbours.
        """
        smallest = min(len(drawn.features), len(real.features))
        if smallest <= self._neighbours:
            raise UsageError(
                f"{smallest} images do not have {self._neighbours} neighbours each",
                where="option neighbours of prc",
                hint="more images, with count=",
            )
        found = prc_features_to_metric(
            drawn.features, real.features, prc_neighborhood=self._neighbours, save_cpu_ram=True, verbose=False
        )
        keys = {"precision": KEY_METRIC_PRECISION, "recall": KEY_METRIC_RECALL, "f-score": KEY_METRIC_F_SCORE}
        return {name: Measured(found[key], higher_is_better=True) for name, key in keys.items()}
