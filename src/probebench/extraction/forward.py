"""One shard of images through a backbone, with checks of everything that the contract of a backbone demands."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch

from probebench.api import Batch
from probebench.extraction.images import ImageReader, check_input_range
from probebench.plugins.isolation import plugin_errors
from probebench.util.errors import FeatureError, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Backbone, Point, Precision, Split

_moved: dict[int, tuple[weakref.ref[Backbone], str, Precision]] = {}


class Forward:
    """Sends images of one split through a backbone.

    Args:
        backbone: Built and moved to its device.
        name: For errors.
        split: The images.
        source: Identity of the split.
        seed: The noise seed.
    """

    def __init__(self, backbone: Backbone, name: str, split: Split, source: str, seed: int) -> None:
        self._backbone, self._name, self._source, self._seed = backbone, name, source, seed
        self._reader = ImageReader(split, source)
        self._range_checked = False

    def shard(
        self, positions: Sequence[int], dims: Mapping[Point, int | None], progress: Callable[[int], None]
    ) -> dict[Point, Tensor]:
        """Computes the features of some images, in batches of the size that the backbone prefers.

        Args:
            positions: Positions of the images in the split.
            dims: The points to read, and the width of each where it is known from other shards.
            progress: Called after every batch with the number of images done.

        Returns:
            For each point float32 ``(len(positions), D)`` on the CPU.

        Raises:
            DataError: An image cannot be read.
            FeatureError: A feature is not finite, or not float32 ``(B, D)`` with one D; or the input is out of range.
            PluginError: The backbone fails in another way, omits a point, or modifies its input.
        """
        rows: dict[Point, Tensor] = {}
        for start in range(0, len(positions), self._backbone.batch_size):
            part = positions[start : start + self._backbone.batch_size]
            for point, features in self._batch(part, list(dims)).items():
                self._check(point, features, part, rows[point].shape[1] if point in rows else dims[point])
                if point not in rows:
                    rows[point] = torch.empty((len(positions), features.shape[1]))
                rows[point][start : start + len(part)] = features
            progress(start + len(part))
        return rows

    def _batch(self, positions: Sequence[int], points: Sequence[Point]) -> dict[Point, Tensor]:
        images = self._reader.read(positions)
        before, index = images.clone(), torch.tensor(positions)
        where = f"images {min(positions)} to {max(positions)} of {self._source}"
        with torch.inference_mode():
            if not self._range_checked:
                check_input_range(self._backbone, images)
                self._range_checked = True
            with plugin_errors(f"backbone {self._name} fails", where=where):
                features = self._backbone.extract(Batch(images, index, self._source), points, seed=self._seed)
        if not torch.equal(images, before) or index.tolist() != list(positions):
            raise PluginError(
                f"backbone {self._name} modifies its input batch", where=where, hint="copy the batch before changing it"
            )
        if absent := [str(point) for point in points if point not in features]:
            raise PluginError(f"backbone {self._name} returns no features of {', '.join(absent)}", where=where)
        return {point: features[point].cpu() for point in points}

    def _check(self, point: Point, features: Tensor, positions: Sequence[int], dim: int | None) -> None:
        shape = tuple(features.shape)
        if features.dtype != torch.float32 or len(shape) != 2 or shape[0] != len(positions):
            raise FeatureError(
                f"{point} of {len(positions)} images is {features.dtype} {shape}, not float32 ({len(positions)}, D)",
                where=f"backbone {self._name}",
            )
        if dim is not None and shape[1] != dim:
            raise FeatureError(
                f"{point} has width {shape[1]} at image {positions[0]} of {self._source}, and {dim} elsewhere",
                where=f"backbone {self._name}",
                hint="use images of one size; a backbone that has changed needs another fingerprint",
            )
        finite = features.isfinite().all(1)
        if not finite.all():
            first = positions[int(finite.int().argmin())]
            raise FeatureError(
                f"{point} is NaN or infinite for image {first} of {self._source}",
                where=f"backbone {self._name}",
                hint="use --precision fp32, or another tap or level",
            )


def move_to_device(backbone: Backbone, device: str, precision: Precision, name: str) -> None:
    """Moves a backbone to its device and precision, the first time it is needed and never again.

    Raises:
        PluginError: The backbone cannot be moved, or its fingerprint changes: then features of the same weights would
            be looked up under two keys.
        ValueError: It was moved elsewhere before. The bits that bf16 cuts off do not come back: build a new one.
    """
    reference, *known = _moved.get(id(backbone), (lambda: None, "", ""))
    if reference() is backbone:
        if known != [device, precision]:
            raise ValueError(f"{name} was moved to {known}, and cannot be moved to {device} in {precision}")
        return
    fingerprint = backbone.fingerprint()
    with plugin_errors(f"backbone {name} cannot be moved to {device} in {precision}"):
        backbone.move_to(device, precision)
    if backbone.fingerprint() != fingerprint:
        raise PluginError(
            f"the fingerprint of backbone {name} changes when it is moved to its device",
            where="Backbone.move_to",
            hint="compute the fingerprint from the weights as they were loaded",
        )
    # Entries of collected backbones are removed here, and not in a callback, in which Python discards a Ctrl-C.
    for key in [key for key, (other, *_) in _moved.items() if other() is None]:
        del _moved[key]
    _moved[id(backbone)] = weakref.ref(backbone), device, precision
