"""What a job needs, built: the backbone, the dataset's splits, and what is read from one on the other."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from probebench.api import Backbone, DataError, Dataset, PluginError, ProbebenchWarning
from probebench.hardware import pick_device, pick_precision
from probebench.inputs import plugin_errors
from probebench.plan import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probebench.api import Precision, Split
    from probebench.plan import Job, Reading, Request


@dataclass(frozen=True)
class Context:
    """One backbone on one dataset, ready to be read.

    Attributes:
        job: The cells that share it.
        request: The run they belong to.
        backbone: Built, not placed on a device yet.
        dataset: Built.
        splits: ``train`` and ``test``, and ``val`` where there is an official one.
        fingerprints: Of the backbone under ``backbone``, of the splits under their names.
        reading: Taps, levels and points.
        device: What the backbone runs on.
        precision: Of its arithmetic.
        warnings: What the components had to say while they were built.
    """

    job: Job
    request: Request
    backbone: Backbone
    dataset: Dataset
    splits: dict[str, Split]
    fingerprints: dict[str, str]
    reading: Reading
    device: str
    precision: Precision
    warnings: tuple[str, ...]

    def source(self, split: str) -> str:
        """Identity of a split. With an image's position it seeds the image's noise."""
        return f"{self.job.dataset.entry.qualified}/{split}"


class Workbench:
    """Builds what a request needs; each dataset once.

    Args:
        request: The run.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._device = pick_device(request.device)
        self._datasets: dict[str, tuple[Dataset, dict[str, Split], dict[str, str], tuple[str, ...]]] = {}

    def context(self, job: Job) -> Context:
        """Builds a job's backbone and dataset.

        Raises:
            UsageError: A tap, level, pool or image size does not fit.
            DataError: The dataset cannot be read.
            PluginError: A component breaks its contract.
        """
        dataset, splits, digests, heard_of_data = self._dataset(job)
        with heard_warnings() as heard:
            backbone = cast("Backbone", job.backbone.build())
            with plugin_errors(f"backbone {job.backbone.title} does not describe itself"):
                read = reading(backbone, dataset.image_size, self._request)
                fingerprint = backbone.fingerprint()
        precision = pick_precision(self._request.precision, self._device, bf16_pays=backbone.bf16_pays)
        return Context(
            job=job,
            request=self._request,
            backbone=backbone,
            dataset=dataset,
            splits=splits,
            fingerprints={"backbone": fingerprint, **digests},
            reading=read,
            device=self._device,
            precision=precision,
            warnings=(*heard_of_data, *heard),
        )

    def _dataset(self, job: Job) -> tuple[Dataset, dict[str, Split], dict[str, str], tuple[str, ...]]:
        title = job.dataset.title
        if title not in self._datasets:
            with heard_warnings() as heard:
                dataset = cast("Dataset", job.dataset.build())
                with plugin_errors(f"dataset {title} cannot be read"):
                    splits = {name: dataset.split(name) for name in dataset.splits if name in ("train", "val", "test")}
                    digests = {name: split.fingerprint() for name, split in splits.items()}
            if missing := {"train", "test"} - set(splits):
                raise PluginError(f"dataset {title} has no split {' and no split '.join(sorted(missing))}")
            if empty := [name for name, split in splits.items() if not len(split)]:
                raise DataError(f"split {empty[0]} of dataset {title} is empty")
            self._datasets[title] = (dataset, splits, digests, tuple(heard))
        return self._datasets[title]


@contextmanager
def heard_warnings() -> Iterator[list[str]]:
    """Collects what `ProbebenchWarning`s say, each once; other warnings go where they always go."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ProbebenchWarning)
        yield said
    for warning in caught:
        if not issubclass(warning.category, ProbebenchWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif str(warning.message) not in said:
            said.append(str(warning.message))
