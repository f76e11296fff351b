"""The images of a cell, divided into train, val and test, as a probe gets them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api import Features, PluginError
from probebench.extraction.subsets import carve, index_digest
from probebench.planning.protocol import VAL_FRACTION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api import Point
    from probebench.extraction.passes import StoredFeatures


@dataclass(frozen=True)
class Rows:
    """The images of one official split that a run uses.

    Attributes:
        split: Name of the split.
        positions: int64 ``(N,)``, their positions in it.
        labels: int64 ``(N,)``.
        features: Of these images in this order, by point.
        shapes: By point, the shape whose flattened form its vectors have.
        views: Of the same images in this order, by point, for each view that probes are trained on; of train alone.
    """

    split: str
    positions: Tensor
    labels: Tensor
    features: Mapping[Point, StoredFeatures]
    shapes: Mapping[Point, tuple[int, ...]]
    views: tuple[Mapping[Point, StoredFeatures], ...] = ()

    def part(
        self, point: Point, vectors: Tensor, labels: Tensor, classes: int, views: tuple[Tensor, ...] = ()
    ) -> Features:
        """Returns the features of some images at a point, as a probe gets them.

        Raises:
            PluginError: They do not have the shape of the tap.
        """
        shape, width = self.shapes[point], vectors.shape[1]
        if math.prod(shape) != width:
            raise PluginError(
                f"features of {point} have {width} values, and the shape of its tap is {shape}",
                where="Backbone.taps",
                hint="return the shape of the features for images of this size",
            )
        return Features(vectors, labels, classes, shape, views)


@dataclass(frozen=True)
class PartUsed:
    """The images of one part."""

    split: str
    count: int
    indices: str


@dataclass(frozen=True)
class Parts:
    """A cell's images, divided. Made by `divide`.

    Attributes:
        rows: By name of the split: ``train`` and ``test``, and ``val`` where there is an official one.
        classes: Number of classes.
        train: int64, which rows of train are fitted on while anything is chosen.
        val: int64, which rows of train are chosen on; empty where there is an official val.
        carved: Whether val was taken from train.
    """

    rows: Mapping[str, Rows]
    classes: int
    train: Tensor
    val: Tensor
    carved: bool

    @property
    def points(self) -> list[Point]:
        """The points that were read, in order."""
        return list(self.rows["train"].features)

    def for_choice(self, point: Point) -> tuple[Features, Features]:
        """Returns the features to fit on and to choose on."""
        train = self.rows["train"]
        vectors = train.features[point].read()
        if self.carved:
            held_out, labels = vectors[self.val], train.labels[self.val]
        else:
            # A copy: a probe may change labels, and other cells need them.
            held_out, labels = self.rows["val"].features[point].read(), self.rows["val"].labels.clone()
        views = tuple(view[point].read()[self.train] for view in train.views)
        fit_on = train.part(point, vectors[self.train], train.labels[self.train], self.classes, views)
        return fit_on, train.part(point, held_out, labels, self.classes)

    def for_last_fit(self, point: Point) -> Features:
        """Returns the features of train and val together."""
        import torch

        parts = [self.rows["train"]] if self.carved else [self.rows["train"], self.rows["val"]]
        matrices = [part.features[point].read() for part in parts]

        def joined(train: Tensor) -> Tensor:
            return torch.cat([train, *matrices[1:]]) if matrices[1:] else train  # one is not copied

        # The images of an official val have no views: they are added unchanged to each view of train.
        views = tuple(joined(view[point].read()) for view in parts[0].views)
        labels = torch.cat([part.labels for part in parts])
        return parts[0].part(point, joined(matrices[0]), labels, self.classes, views)

    def used(self) -> dict[str, PartUsed]:
        """Returns the images of each part."""
        positions = self.rows["train"].positions
        used = {"train": _used("train", positions[self.train]), "test": _used("test", self.rows["test"].positions)}
        used["val"] = _used("train", positions[self.val]) if self.carved else _used("val", self.rows["val"].positions)
        return used


def divide(rows: Mapping[str, Rows], classes: int, *, seed: int) -> Parts:
    """Divides the images: val is the official one, or is carved from train.

    Args:
        rows: By name of the split.
        classes: Number of classes of the dataset.
        seed: Of the carved validation part.

    Raises:
        UsageError: No validation part can be carved.
    """
    import torch

    labels = rows["train"].labels
    if "val" in rows:
        nothing = torch.empty(0, dtype=torch.int64)
        return Parts(rows, classes, torch.arange(len(labels)), nothing, carved=False)
    train, val = carve(labels, VAL_FRACTION, seed=seed)
    return Parts(rows, classes, train, val, carved=True)


def _used(split: str, positions: Tensor) -> PartUsed:
    return PartUsed(split, len(positions), index_digest(positions))
