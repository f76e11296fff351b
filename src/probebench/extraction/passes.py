"""One pass of a backbone over a split, for all points whose features are not stored yet.

The pass goes shard by shard. A shard is forwarded only for the points that lack it, so memory is bounded by one shard,
and a killed run loses at most one. After an error in an image or a feature, the shards before it stay stored, and the
next run begins at the shard with that image.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from probebench.extraction.forward import Forward, move_to_device
from probebench.extraction.subsets import index_digest
from probebench.store.features import SHARD_ROWS, MissingShardsError
from probebench.util.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from probebench.api import Backbone, Point, Precision, Split
    from probebench.store.features import Store, StoreEntry


@dataclass
class Extraction:
    """The result of a pass. Both counts grow when `StoredFeatures.read` has to compute a shard again.

    Attributes:
        features: The stored features of every point.
        forwarded: Number of images that went through the backbone; 0 when all features were stored.
        seconds: Wall-clock time of reading, computing and storing.
    """

    features: dict[Point, StoredFeatures]
    forwarded: int
    seconds: float


@dataclass(frozen=True)
class StoredFeatures:
    """The features of one point, on disk.

    Attributes:
        entry: The entry in the store.
    """

    entry: StoreEntry
    _restore: Callable[[], None]

    def read(self) -> Tensor:
        """Reads them. A shard that was damaged or removed since it was stored is computed again.

        Returns:
            float32 ``(N, D)``, one row for each image, in the requested order.
        """
        try:
            return self.entry.read()
        except MissingShardsError:
            self._restore()
            return self.entry.read()


def extract(
    backbone: Backbone,
    split: Split,
    *,
    identity: Mapping[str, Any],
    source: str,
    index: Tensor | None,
    points: Sequence[Point],
    seed: int,
    device: str,
    precision: Precision,
    store: Store,
    shard_rows: int = SHARD_ROWS,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Extraction:
    """Stores the features of all points, forwarding each image at most once.

    Args:
        backbone: As built. It is moved to the device once, when there is something to compute.
        split: The official split that the images are in.
        identity: The backbone's ``name``, version and options, as JSON values.
        source: Identity of the split; with an image's position it seeds the noise.
        index: int64 ``(N,)``, positions of the images in the split, in the order of the rows; ``None`` takes all.
        points: What to read; taps and levels have been checked.
        seed: The noise seed.
        device: ``cpu``, ``cuda`` or ``cuda:N``. Not part of the key: features are stored once for all devices.
        precision: Of the network's arithmetic.
        store: Where the features go.
        shard_rows: Images per shard.
        progress: Called as ``progress(done, total)`` after every batch, in images.

    Raises:
        DataError: There is no image, or one cannot be read; the message names its position.
        FeatureError: The backbone's input is out of range, or a feature is not finite or of the wrong shape.
        PluginError: The backbone raises an exception of another kind, or breaks its contract.
        StoreError: The store cannot be read or written.
    """
    started = time.perf_counter()
    positions = torch.arange(len(split)) if index is None else index.to("cpu", torch.int64)
    if not len(positions):
        raise DataError(f"there is no image of {source} to read features from")
    if positions.min() < 0 or positions.max() >= len(split):
        raise ValueError(f"index holds positions outside 0 to {len(split) - 1} of {source}")
    shared = {
        "backbone": {**identity, "fingerprint": backbone.fingerprint()},
        "split": {"source": source, "fingerprint": split.fingerprint(), "index": index_digest(positions)},
        "seed": seed,
        "precision": precision,
    }
    entries = {
        point: store.entry({**shared, "point": asdict(point)}, len(positions), shard_rows=shard_rows)
        for point in points
    }
    name = str(identity.get("name", type(backbone).__name__))
    job = _Pass(backbone, name, split, source, positions, seed, device, precision, progress)
    extraction = Extraction({}, 0, time.perf_counter() - started)

    def complete(requested: Mapping[Point, StoreEntry]) -> None:
        begun = time.perf_counter()
        extraction.forwarded += job.complete(requested)
        extraction.seconds += time.perf_counter() - begun

    complete(entries)
    for point, entry in entries.items():
        only = {point: entry}
        extraction.features[point] = StoredFeatures(entry, lambda only=only: complete(only))  # type: ignore[misc]
    return extraction


@dataclass(frozen=True)
class _Pass:
    backbone: Backbone
    name: str
    split: Split
    source: str
    positions: Tensor
    seed: int
    device: str
    precision: Precision
    progress: Callable[[int, int], None]

    def complete(self, entries: Mapping[Point, StoreEntry]) -> int:
        """Computes the missing shards, seals the entries, and returns the number of images forwarded."""
        points: dict[int, list[Point]] = {}
        spans: dict[int, range] = {}
        for point, entry in entries.items():
            for number in entry.missing_shards():
                points.setdefault(number, []).append(point)
                spans[number] = entry.span(number)
        if points:
            move_to_device(self.backbone, self.device, self.precision, self.name)
        forward = Forward(self.backbone, self.name, self.split, self.source, self.seed)
        done, total = 0, sum(map(len, spans.values()))
        for number in sorted(points):
            span, before = spans[number], done
            rows = forward.shard(
                self.positions[span.start : span.stop].tolist(),
                {point: entries[point].dim for point in points[number]},
                lambda images, before=before: self.progress(before + images, total),  # type: ignore[misc]
            )
            for point in points[number]:
                entries[point].write(number, rows.pop(point))
            done += len(span)
        for entry in entries.values():
            entry.write_manifest()
        return total
