"""`kid`: the kernel distance (Binkowski et al. 2018, arXiv 1801.01401)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

from probebench.api import ImageSet, Measured, SampleProbe, UsageError
from probebench_fidelity.options import SEED, uses_default_features

if TYPE_CHECKING:
    from probebench_fidelity.options import KIDOptions


class KernelDistance(SampleProbe):
    """Unbiased squared MMD with the kernel (x.y / D + 1)^3, averaged over random subsets.

    It is called `kid` on the last pooled features of Inception, and `kd` on any others.
    """

    def __init__(self, options: KIDOptions) -> None:
        self._options = options
        self._name = "kid" if uses_default_features(options) else "kd"

    def measure(self, generated: ImageSet, real: ImageSet) -> dict[str, Measured]:
        """Returns the distance: lower is better, and slightly negative values are possible.

        The sd is over subsets; it does not include the spread over trained models.

        Raises:
            UsageError: There are fewer images than in a subset.
        """
        smallest = min(len(generated.features), len(real.features))
        if smallest < self._options.subset_size:
            raise UsageError(
                f"subsets of {self._options.subset_size:,} images cannot be taken from {smallest:,}",
                where="option subset_size of kid",
                hint=f"kid:subset_size={smallest}",
            )
        results = kid_features_to_metric(
            generated.features.double(),
            real.features.double(),
            kid_subsets=self._options.subsets,
            kid_subset_size=self._options.subset_size,
            rng_seed=SEED,
            verbose=False,
        )
        return {self._name: Measured(results[KEY_METRIC_KID_MEAN], sd=results[KEY_METRIC_KID_STD])}
