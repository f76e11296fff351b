"""Any probe, fitted on a few images of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api import Features, Fitted, Probe, hash63

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import Metric, Precision, Scalar, Trial
    from probebench_probes.options import FewshotOptions


class Fewshot(Probe):
    """Hands another probe a few train images of each class.

    Which ones, the seed says: a run with several seeds has as many tries, each with a record and predictions of its
    own. A seed draws the same images at every tap and level and for every network, and its five shots are among its
    ten: so tries are compared image by image, and curves over shots are smooth. Settings are chosen on the whole of
    val; the last fit draws from train and val together.
    """

    def __init__(self, options: FewshotOptions, inner: Probe) -> None:
        self._shots, self._inner = options.shots, inner

    def place(self, device: str, precision: Precision) -> None:
        """Places the other probe."""
        self._inner.place(device, precision)

    def tune(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """The other probe's trials."""
        return self.tune_many([(train, val)], metric=metric, seed=seed)[0]

    def tune_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> Sequence[Sequence[Trial]]:
        """The other probe's trials, of all points together."""
        few = [(self._few(train, seed), val) for train, val in points]
        return self._inner.tune_many(few, metric=metric, seed=seed)

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Fits the other probe."""
        return self._inner.fit(self._few(train, seed), params, seed=seed)

    def _few(self, train: Features, seed: int) -> Features:
        rows = shots(train.labels, self._shots, seed=seed)
        views = tuple(view[rows] for view in train.views)
        return Features(train.vectors[rows], train.labels[rows], train.classes, train.shape, views)


def shots(labels: Tensor, count: int, *, seed: int) -> Tensor:
    """Positions of a few images of each class.

    Args:
        labels: int64 ``(N,)``.
        count: Images of each class; of a smaller class all are taken.
        seed: Of the draw. Fewer images of the same seed are among more of them.

    Returns:
        int64, ascending.
    """
    drawn = []
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(hash63("shots", seed, label))
        drawn.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(drawn).sort().values
