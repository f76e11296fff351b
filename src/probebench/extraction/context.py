"""Contexts: the components of a job, built, and warnings collected while they work."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from probebench.api import ProbebenchWarning
from probebench.store.features import RepairWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from probebench.api import Backbone, Dataset, Precision, Split
    from probebench.planning.description import JobDescription
    from probebench.planning.jobs import Job
    from probebench.planning.points import ResolvedPoints


@dataclass(frozen=True)
class Context:
    """The components of a job, built, as all its cells need them.

    Attributes:
        job: The job.
        description: What identifies its cells.
        backbone: Built.
        dataset: Built.
        splits: ``train`` and ``test``, and ``val`` where there is an official one.
        labels: int64 ``(N,)`` of each split.
        extractor: Built; None where no images are generated.
    """

    job: Job
    description: JobDescription
    backbone: Backbone
    dataset: Dataset
    splits: dict[str, Split]
    labels: dict[str, Tensor]
    extractor: Backbone | None = None

    @property
    def device(self) -> str:
        """What the backbone runs on."""
        return self.description.device

    @property
    def precision(self) -> Precision:
        """Of the backbone's arithmetic."""
        return self.description.precision

    @property
    def points(self) -> ResolvedPoints:
        """What is read of the backbone, where its features are read."""
        assert self.description.backbone.points is not None  # noqa: S101 - jobs of generation have no points
        return self.description.backbone.points

    def with_points(self, points: ResolvedPoints) -> Context:
        """Returns the same components, of which other points are read."""
        backbone = replace(self.description.backbone, points=points)
        return replace(self, description=replace(self.description, backbone=backbone))

    def source(self, split: str) -> str:
        """Returns the identity of a split. With an image's position it seeds the image's noise."""
        return f"{self.job.dataset.entry.qualified}/{split}"

    def positions(self, split: str) -> Tensor:
        """Returns which images of a split are used: int64 ``(N,)``."""
        import torch

        from probebench.extraction.subsets import limit

        labels, count = self.labels[split], self.job.settings.limit
        return torch.arange(len(labels)) if count is None else limit(labels, count)


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collects the messages of `ProbebenchWarning`s about a number, each once; other warnings pass as usual.

    The list is filled when the block ends, also when it ends with an error.
    """
    messages: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ProbebenchWarning)
            yield messages
    finally:
        for warning in caught:
            if not issubclass(warning.category, ProbebenchWarning) or issubclass(warning.category, RepairWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            elif str(warning.message) not in messages:
                messages.append(str(warning.message))
