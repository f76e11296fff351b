"""Opening a dataset: its splits, their labels and fingerprints, and doubts about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from probebench.api import DataError, PluginError
from probebench.extraction import data_checks
from probebench.extraction.context import collect_warnings
from probebench.extraction.fingerprints import checked_fingerprint
from probebench.planning.description import DatasetDescription
from probebench.plugins.isolation import plugin_errors

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Dataset, Split
    from probebench.plugins.registry import Component


SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Images:
    """A dataset, opened.

    Attributes:
        dataset: Built.
        splits: ``train`` and ``test``, and ``val`` where there is an official one.
        labels: int64 ``(N,)`` of each split.
        description: What identifies it.
    """

    dataset: Dataset
    splits: dict[str, Split]
    labels: dict[str, Tensor]
    description: DatasetDescription


def open_images(component: Component) -> Images:
    """Builds a dataset, and checks its splits, their labels and their fingerprints.

    Raises:
        DataError: It cannot be read, or a label is outside its classes.
        PluginError: It breaks its contract.
    """
    what = f"dataset {component.title}"
    with collect_warnings() as collected:
        dataset = cast("Dataset", component.build())
        if missing := [name for name in ("train", "test") if name not in dataset.splits]:
            raise PluginError(f"{what} has no split {' and no split '.join(missing)}", where=component.entry.origin)
        with plugin_errors(f"{what} cannot be read", where=component.entry.origin):
            splits = {name: dataset.split(name) for name in SPLITS if name in dataset.splits}
            fingerprints = {
                name: checked_fingerprint(split.fingerprint(), f"{what}/{name}") for name, split in splits.items()
            }
            labels = {
                name: _checked_labels(split, len(dataset.classes), f"{what}/{name}") for name, split in splits.items()
            }
            data_checks.warn_of_doubts(dataset.classes, labels["train"], data_checks.shared_images(splits))
    height, width = dataset.image_size
    description = DatasetDescription(
        fingerprints=fingerprints,
        classes=tuple(dataset.classes),
        image_size=(height, width),
        metric=dataset.metric,
        flips=dataset.flips,
        warnings=tuple(collected),
    )
    return Images(dataset, splits, labels, description)


def _checked_labels(split: Split, classes: int, where: str) -> Tensor:
    labels = split.labels()
    if not len(split):
        raise DataError("the split has no image", where=where)
    if tuple(labels.shape) != (len(split),):
        raise DataError(f"labels have shape {tuple(labels.shape)} for {len(split)} images", where=where)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(f"labels range from {low} to {high}, and there are {classes} classes", where=where)
    return labels.long()
