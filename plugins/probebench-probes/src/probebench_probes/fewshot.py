"""`fewshot`: any probe, fitted on a few images of each class."""

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
    """Fits another probe on a few train images of each class.

    The seed decides which images: a run with several seeds repeats the experiment on other images, and each repetition
    has its own record and predictions. One seed selects the same images at every tap and level and for every network,
    and five shots of a seed are among its ten. So repetitions are compared image by image, and curves over the number
    of shots are smooth. Settings are chosen on the whole of val; the last fit takes its images from train and val
    together.
    """

    def __init__(self, options: FewshotOptions, inner: Probe) -> None:
        self._shots, self._inner = options.shots, inner

    def move_to(self, device: str, precision: Precision) -> None:
        """Sets the device and the precision of the inner probe."""
        self._inner.move_to(device, precision)

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> Sequence[Trial]:
        """Returns the trials of the inner probe."""
        return self.search_many([(train, val)], metric=metric, seed=seed)[0]

    def search_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> Sequence[Sequence[Trial]]:
        """Returns the trials of the inner probe for each point."""
        few = [(self._few(train, seed), val) for train, val in points]
        return self._inner.search_many(few, metric=metric, seed=seed)

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        """Fits the inner probe."""
        return self._inner.fit(self._few(train, seed), params, seed=seed)

    def _few(self, train: Features, seed: int) -> Features:
        rows = sample_shots(train.labels, self._shots, seed=seed)
        views = tuple(view[rows] for view in train.views)
        return Features(train.vectors[rows], train.labels[rows], train.classes, train.shape, views)


def sample_shots(labels: Tensor, count: int, *, seed: int) -> Tensor:
    """Samples the positions of a few images of each class.

    Args:
        labels: int64 ``(N,)``.
        count: Images of each class; of a smaller class, all are taken.
        seed: Seed of the sample. A larger sample of the same seed contains the smaller one.

    Returns:
        int64, ascending.
    """
    sampled = []
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero()[:, 0]
        generator = torch.Generator().manual_seed(hash63("shots", seed, label))
        sampled.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(sampled).sort().values
