"""Fine-tuning: settings are chosen on val, the best one is trained again, and test is measured once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from probebench.api import Batch, FinetunableNetwork, InputImages, PluginError
from probebench.extraction.images import ImageReader, check_input_range
from probebench.extraction.views import by_epoch, make_views
from probebench.probing.cell import ProbeOutcome
from probebench.probing.data import Rows, divide
from probebench.probing.refit import checked_scores
from probebench.probing.trials import checked_trial
from probebench.stats import metrics
from probebench.util.seeding import hash63

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import FinetuningProbe, Point, Split, Trial
    from probebench.extraction.context import Context
    from probebench.probing.data import Parts


@dataclass(frozen=True)
class _Piece:
    """Some images of one split.

    Attributes:
        shown: The split without views, and its identity.
        trained_on: The views by epoch; empty where training uses the unchanged images.
        positions: int64 ``(N,)``, in the split.
        labels: int64 ``(N,)``.
    """

    shown: tuple[Split, str]
    trained_on: tuple[tuple[Split, str], ...]
    positions: Tensor
    labels: Tensor

    def part(self, rows: Tensor) -> _Piece:
        """Returns some of the images."""
        return replace(self, positions=self.positions[rows], labels=self.labels[rows])

    def batch(self, rows: Tensor, epoch: int | None) -> Batch:
        """Reads some of the images: a view in an epoch, unchanged images for None."""
        forms = self.trained_on if self.trained_on and epoch is not None else (self.shown,)
        split, source = forms[(epoch or 0) % len(forms)]
        positions = self.positions[rows]
        return Batch(ImageReader(split, source).read(positions.tolist()), positions, source)


def finetune(context: Context, probe: FinetuningProbe, *, seed: int) -> ProbeOutcome:
    """Trains a backbone with a probe, chooses the setting on val, and measures on test.

    Args:
        context: The components of the job. The backbone was never moved: its network is copied in fp32, as loaded.
        probe: Built and moved to its device.
        seed: Of the probe and of the carved validation part.

    Raises:
        UsageError: The backbone has no network to train, or no validation part can be carved.
        DataError: An image cannot be read.
        FeatureError: The backbone's input is out of range.
        PluginError: The probe returns no trials, invalid trials, or scores that cannot be measured.
    """
    positions = {name: context.positions(name) for name in context.splits}
    rows = {name: Rows(name, at, context.labels[name][at], {}, {}) for name, at in positions.items()}
    parts = divide(rows, len(context.dataset.classes), seed=seed)
    check_input_range(context.backbone, context.splits["train"].image(int(positions["train"][0]))[None])
    trials: list[tuple[Point, Trial]] = []
    for point in context.points.points:
        trials += _trials(context, probe, parts, point, seed)
    point, best = max(trials, key=lambda item: item[1].value)  # max keeps the first of equals
    everything = [_piece(context, rows[name]) for name in (["train"] if parts.carved else ["train", "val"])]
    finetuned = probe.fit(_network(context, point), _images(context, point, *everything), best.params, seed=seed)
    test = _piece(context, rows["test"])
    # A probe gets no test label: here every image has the first class.
    unlabelled = replace(test, labels=torch.zeros_like(test.labels))
    scores = finetuned.scores(_images(context, point, unlabelled))
    scores = checked_scores(scores, finetuned, len(test.labels), parts.classes)
    return ProbeOutcome(
        trials=tuple(trials),
        chosen=(point, best),
        dim=_network(context, point).width,
        predicted=metrics.predictions(scores),
        labels=test.labels,
        summary=metrics.all_metrics(scores, test.labels, logits=finetuned.logits),
        parts=parts.used(),
        carved=parts.carved,
        neighbours={},
        on_test=(),
        voters=(),
    )


def _trials(
    context: Context, probe: FinetuningProbe, parts: Parts, point: Point, seed: int
) -> list[tuple[Point, Trial]]:
    whole, name = _piece(context, parts.rows["train"]), type(probe).__name__
    val = whole.part(parts.val) if parts.carved else _piece(context, parts.rows["val"])
    tried = probe.search(
        _network(context, point),
        _images(context, point, whole.part(parts.train)),
        _images(context, point, val),
        metric=metrics.METRICS[context.dataset.metric],
        seed=seed,
    )
    if not tried:
        raise PluginError("search() returns no trial", where=name, hint="return at least one trial")
    return [(point, checked_trial(trial, name)) for trial in tried]


def _network(context: Context, point: Point) -> FinetunableNetwork:
    return FinetunableNetwork(lambda: context.backbone.trainable(point), math.prod(context.points.shapes[point]))


def _piece(context: Context, rows: Rows) -> _Piece:
    """Returns all images of a split; those of train with their views."""
    shown: tuple[Split, str] = context.splits[rows.split], context.source(rows.split)
    trained_on: tuple[tuple[Split, str], ...] = ()
    if rows.split == "train":
        views = make_views(context.job.views, *shown, flips=context.dataset.flips, seed=context.job.settings.noise_seed)
        trained_on = by_epoch(context.job.views, shown, [(view, view.source) for view in views])
    return _Piece(shown, trained_on, rows.positions, rows.labels)


def _images(context: Context, point: Point, *pieces: _Piece) -> InputImages:
    """Returns the images of some pieces, one after the other, as network inputs."""

    def inputs(rows: Tensor, epoch: int | None) -> Tensor:
        seed, first = context.job.settings.noise_seed, 0
        if epoch is not None:
            seed = hash63("epoch", seed, epoch)  # every epoch has other noise
        found: dict[int, Tensor] = {}
        for piece in pieces:
            mine = ((rows >= first) & (rows < first + len(piece.labels))).nonzero()[:, 0]
            if len(mine):
                given = context.backbone.inputs(piece.batch(rows[mine] - first, epoch), point.level, seed=seed)
                found |= zip(mine.tolist(), given.cpu(), strict=True)
            first += len(piece.labels)
        return torch.stack([found[row] for row in range(len(rows))])

    return InputImages(torch.cat([piece.labels for piece in pieces]), len(context.dataset.classes), inputs)
