"""One cell of a probe that trains the backbone: settings chosen on val, the best one trained again, test asked once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from probebench.api import Batch, FinetunableNetwork, InputImages, PluginError
from probebench.extraction.images import ImageReader, check_input_range
from probebench.extraction.views import in_turns, views
from probebench.probing.cell import Outcome
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
        shown: They, as they are, and the identity of the split.
        trained_on: Their views, in turns by epoch; empty where they are trained on as they are.
        positions: int64 ``(N,)``, in the split.
        labels: int64 ``(N,)``.
    """

    shown: tuple[Split, str]
    trained_on: tuple[tuple[Split, str], ...]
    positions: Tensor
    labels: Tensor

    def part(self, rows: Tensor) -> _Piece:
        """Some of them."""
        return replace(self, positions=self.positions[rows], labels=self.labels[rows])

    def batch(self, rows: Tensor, epoch: int | None) -> Batch:
        """Some of them as images, in an epoch or as they are."""
        forms = self.trained_on if self.trained_on and epoch is not None else (self.shown,)
        split, source = forms[(epoch or 0) % len(forms)]
        positions = self.positions[rows]
        return Batch(ImageReader(split, source).read(positions.tolist()), positions, source)


def measure(context: Context, probe: FinetuningProbe, *, seed: int) -> Outcome:
    """Trains, chooses and measures.

    Args:
        context: The backbone, never placed: its network is copied as it was loaded, in fp32.
        probe: Built and placed.
        seed: Of the probe and of the carved validation part.

    Raises:
        UsageError: The backbone has no network to train, or no validation part can be carved.
        DataError: An image cannot be read.
        FeatureError: The backbone's input is out of range.
        PluginError: The probe gives no trials, trials that are no settings, or scores that cannot be measured.
    """
    positions = {name: context.positions(name) for name in context.splits}
    rows = {name: Rows(name, at, context.labels[name][at], {}, {}) for name, at in positions.items()}
    parts = divide(rows, len(context.dataset.classes), seed=seed)
    check_input_range(context.backbone, context.splits["train"].image(int(positions["train"][0]))[None])
    trials: list[tuple[Point, Trial]] = []
    for point in context.reading.points:
        trials += _trials(context, probe, parts, point, seed)
    point, best = max(trials, key=lambda item: item[1].value)  # max keeps the first of equals
    everything = [_piece(context, rows[name]) for name in (["train"] if parts.carved else ["train", "val"])]
    tuned = probe.fit(_tunable(context, point), _images(context, point, *everything), best.params, seed=seed)
    test = _piece(context, rows["test"])
    # A probe is handed no test label: here each image is of the first class.
    unlabelled = replace(test, labels=torch.zeros_like(test.labels))
    scores = tuned.scores(_images(context, point, unlabelled))
    scores = checked_scores(scores, tuned, len(test.labels), parts.classes)
    return Outcome(
        trials=tuple(trials),
        chosen=(point, best),
        dim=_tunable(context, point).width,
        predicted=metrics.predictions(scores),
        labels=test.labels,
        summary=metrics.all_metrics(scores, test.labels, logits=tuned.logits),
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
        _tunable(context, point),
        _images(context, point, whole.part(parts.train)),
        _images(context, point, val),
        metric=metrics.METRICS[context.dataset.metric],
        seed=seed,
    )
    if not tried:
        raise PluginError("the probe tried nothing", where=name, hint="search() gives one or more")
    return [(point, checked_trial(trial, name)) for trial in tried]


def _tunable(context: Context, point: Point) -> FinetunableNetwork:
    return FinetunableNetwork(lambda: context.backbone.trainable(point), math.prod(context.reading.shapes[point]))


def _piece(context: Context, rows: Rows) -> _Piece:
    """All images of a split; those of train with their views."""
    shown: tuple[Split, str] = context.splits[rows.split], context.source(rows.split)
    trained_on: tuple[tuple[Split, str], ...] = ()
    if rows.split == "train":
        found = views(context.job.views, *shown, flips=context.dataset.flips, seed=context.request.noise_seed)
        trained_on = in_turns(context.job.views, shown, [(view, view.source) for view in found])
    return _Piece(shown, trained_on, rows.positions, rows.labels)


def _images(context: Context, point: Point, *pieces: _Piece) -> InputImages:
    """The images of some pieces, one after the other."""

    def inputs(rows: Tensor, epoch: int | None) -> Tensor:
        seed, first = context.request.noise_seed, 0
        if epoch is not None:
            seed = hash63("epoch", seed, epoch)  # noise is drawn anew in every epoch, as it is in those who tune
        found: dict[int, Tensor] = {}
        for piece in pieces:
            mine = ((rows >= first) & (rows < first + len(piece.labels))).nonzero()[:, 0]
            if len(mine):
                given = context.backbone.inputs(piece.batch(rows[mine] - first, epoch), point.level, seed=seed)
                found |= zip(mine.tolist(), given.cpu(), strict=True)
            first += len(piece.labels)
        return torch.stack([found[place] for place in range(len(rows))])

    return InputImages(torch.cat([piece.labels for piece in pieces]), len(context.dataset.classes), inputs)
