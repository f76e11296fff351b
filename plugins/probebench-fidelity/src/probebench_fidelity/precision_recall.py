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
    """Precision: the share of generated images inside the ball of a real one. Recall: the reverse.

    The radius of a ball is the distance to the image's k-th neighbour in its own set. So both numbers depend on the
    number of images in each set.
    """

    def __init__(self, options: PRCOptions) -> None:
        self._neighbours = options.neighbours

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        """Returns precision, recall and F-score: higher is better, and all are between 0 and 1.

        Raises:
            UsageError: There are not more images than neighbours.
        """
        smallest = min(len(generated.features), len(real.features))
        if smallest <= self._neighbours:
            raise UsageError(
                f"{smallest} images do not have {self._neighbours} neighbours each",
                where="option neighbours of prc",
                hint="prc:count=2000 for more images, or a smaller value of neighbours",
            )
        results = prc_features_to_metric(
            generated.features, real.features, prc_neighborhood=self._neighbours, save_cpu_ram=True, verbose=False
        )
        keys = {"precision": KEY_METRIC_PRECISION, "recall": KEY_METRIC_RECALL, "f-score": KEY_METRIC_F_SCORE}
        return {name: Measured(results[key], higher_is_better=True) for name, key in keys.items()}
