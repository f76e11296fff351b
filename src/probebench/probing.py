"""One cell: a probe fitted on features, chosen on val, measured once on test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench import metrics
from probebench.api import Features, PluginError, Scalar, Trial
from probebench.protocol import VAL_FRACTION
from probebench.splits import carve, index_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from probebench.api import Metric, Point, Probe
    from probebench.extract import StoredFeatures

GROUP_BYTES = 128 << 20
"""Bound of the features that are handed to a probe at once, unless those of one point alone exceed it."""


@dataclass(frozen=True)
class Rows:
    """The images of one official split that a run uses.

    Attributes:
        split: Name of the split.
        positions: int64 ``(N,)``, their positions in it.
        labels: int64 ``(N,)``.
        features: Of these images in this order, by point.
        shapes: What a point's vectors are the flattened form of.
    """

    split: str
    positions: Tensor
    labels: Tensor
    features: Mapping[Point, StoredFeatures]
    shapes: Mapping[Point, tuple[int, ...]]

    def part(self, point: Point, vectors: Tensor, labels: Tensor, classes: int) -> Features:
        """Some images' features of a point, as a probe gets them.

        Raises:
            PluginError: They are not of the shape that the tap is said to have.
        """
        shape, width = self.shapes[point], vectors.shape[1]
        if math.prod(shape) != width:
            raise PluginError(
                f"{point} is {width} wide, and its tap's shape makes it {shape}",
                where="the backbone",
                hint="taps() must give the shape for images of this size",
            )
        return Features(vectors, labels, classes, shape)


@dataclass(frozen=True)
class PartUsed:
    """The images that served one purpose."""

    split: str
    count: int
    indices: str


@dataclass(frozen=True)
class Outcome:
    """What came out of a cell.

    Attributes:
        trials: All trials of all points, on val.
        chosen: Point and trial that won.
        dim: Length of the chosen feature vector.
        predicted: int64 ``(N,)``, the class given to each test image.
        labels: int64 ``(N,)``, its true class.
        summary: All metrics on test.
        parts: Images used as train, val and test.
        carved: Whether val was taken from train.
    """

    trials: tuple[tuple[Point, Trial], ...]
    chosen: tuple[Point, Trial]
    dim: int
    predicted: Tensor
    labels: Tensor
    summary: metrics.Summary
    parts: dict[str, PartUsed]
    carved: bool


def measure(probe: Probe, rows: Mapping[str, Rows], *, classes: int, metric: str, seed: int) -> Outcome:
    """Tunes a probe at every point, fits the best on train and val together, and scores the test images.

    The probe is handed test vectors after the choice, and test labels never.

    Args:
        probe: What to fit.
        rows: The splits ``train`` and ``test``, and ``val`` where there is an official one.
        classes: Number of classes.
        metric: Name of the primary metric, a key of `metrics.METRICS`.
        seed: Of the carved validation part and of the probe.

    Raises:
        PluginError: The probe gives no trial, one that no record can hold, or scores that cannot be measured.
        UsageError: No validation part can be carved.
    """
    train, val, carved = _divide(rows, seed)
    trials = _trials(probe, rows, train, val, classes, metrics.METRICS[metric], seed)
    point, best = max(trials, key=lambda item: item[1].value)  # max keeps the first of equals
    everything = _everything(rows, point, classes, carved=carved)
    fitted = probe.fit(everything, best.params, seed=seed)
    test = rows["test"]
    scores = fitted.scores(test.features[point].read()).detach().float().cpu()
    if tuple(scores.shape) != (len(test.labels), classes):
        raise PluginError(
            f"scores of shape {tuple(scores.shape)}, not ({len(test.labels)}, {classes})", where=type(fitted).__name__
        )
    predicted = metrics.predictions(scores)
    summary = metrics.summary(scores, test.labels)
    if fitted.logits:
        summary[metrics.ECE] = metrics.calibration_error(scores, test.labels)
    return Outcome(
        trials=tuple(trials),
        chosen=(point, best),
        dim=everything.vectors.shape[1],
        predicted=predicted,
        labels=test.labels,
        summary=summary,
        parts=_parts(rows, train, val, carved=carved),
        carved=carved,
    )


def _divide(rows: Mapping[str, Rows], seed: int) -> tuple[Tensor, Tensor, bool]:
    """Rows of train to fit on and to select on; the latter is empty where there is an official val."""
    import torch

    labels = rows["train"].labels
    if "val" in rows:
        return torch.arange(len(labels)), torch.empty(0, dtype=torch.int64), False
    train, val = carve(labels, VAL_FRACTION, seed=seed)
    return train, val, True


def _trials(
    probe: Probe, rows: Mapping[str, Rows], train: Tensor, val: Tensor, classes: int, metric: Metric, seed: int
) -> list[tuple[Point, Trial]]:
    """The trials of all points, tuned as many at a time as `GROUP_BYTES` allow."""
    trials: list[tuple[Point, Trial]] = []
    group: dict[Point, tuple[Features, Features]] = {}
    held = 0
    for point, stored in rows["train"].features.items():
        vectors = stored.read()
        if "val" in rows:
            held_out, labels = rows["val"].features[point].read(), rows["val"].labels.clone()
        else:
            held_out, labels = vectors[val], rows["train"].labels[val]
        fit_on = rows["train"].part(point, vectors[train], rows["train"].labels[train], classes)
        del vectors  # not beside its own parts while the probe works
        size = fit_on.vectors.nbytes + held_out.nbytes
        if group and held + size > GROUP_BYTES:
            trials += _tune(probe, group, metric, seed)
            group, held = {}, 0
        group[point] = fit_on, rows["train"].part(point, held_out, labels, classes)
        held += size
    return trials + _tune(probe, group, metric, seed)


def _tune(
    probe: Probe, group: Mapping[Point, tuple[Features, Features]], metric: Metric, seed: int
) -> list[tuple[Point, Trial]]:
    name = type(probe).__name__
    tried = [list(trials) for trials in probe.tune_many(list(group.values()), metric=metric, seed=seed)]
    if len(tried) != len(group):
        raise PluginError(
            f"tune_many() gives trials of {len(tried)} points, not {len(group)}", where=name, hint="one list a point"
        )
    if not all(tried):
        raise PluginError("the probe tried nothing", where=name, hint="tune() gives one or more")
    return [(point, _checked(trial, name)) for point, trials in zip(group, tried, strict=True) for trial in trials]


def _checked(trial: Trial, probe: str) -> Trial:
    """A trial as a record can hold it."""
    value = float(trial.value)
    if not 0 <= value <= 1:
        raise PluginError(f"a trial has the value {value}, not one from 0 to 1", where=probe)
    for name, setting in trial.params.items():
        if not isinstance(setting, Scalar) or (isinstance(setting, float) and not math.isfinite(setting)):
            raise PluginError(
                f"a trial has the setting {name}={setting!r}", where=probe, hint="a text, finite number, truth or None"
            )
    return Trial(dict(trial.params), value)


def _everything(rows: Mapping[str, Rows], point: Point, classes: int, *, carved: bool) -> Features:
    import torch

    parts = [rows["train"]] if carved else [rows["train"], rows["val"]]
    matrices = [part.features[point].read() for part in parts]
    vectors = torch.cat(matrices) if matrices[1:] else matrices[0]  # one is not copied
    return rows["train"].part(point, vectors, torch.cat([part.labels for part in parts]), classes)


def _parts(rows: Mapping[str, Rows], train: Tensor, val: Tensor, *, carved: bool) -> dict[str, PartUsed]:
    positions = rows["train"].positions
    parts = {"train": _part("train", positions[train]), "test": _part("test", rows["test"].positions)}
    parts["val"] = _part("train", positions[val]) if carved else _part("val", rows["val"].positions)
    return parts


def _part(split: str, positions: Tensor) -> PartUsed:
    return PartUsed(split, len(positions), index_digest(positions))
