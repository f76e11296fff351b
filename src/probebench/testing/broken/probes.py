"""Probes that each break a requirement. Each docstring describes a mistake of a plugin author."""
# ruff: noqa: ARG002, D102 - the docstring of a class describes its method

from __future__ import annotations

import functools
import itertools
import operator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from probebench.api import Features, Fitted, Metric, Options, Scalar, Trial
from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyFitted, ToyProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_fits = itertools.count()


class _Changed(Fitted):
    """A fitted probe with changed vectors or scores."""

    def __init__(
        self,
        fitted: Fitted,
        *,
        vectors: Callable[[Tensor], Tensor] | None = None,
        scores: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.fitted, self.vectors, self.change = fitted, vectors, scores

    def scores(self, vectors: Tensor) -> Tensor:
        scores = self.fitted.scores(self.vectors(vectors) if self.vectors else vectors)
        return self.change(scores) if self.change else scores


def _part(features: Features, rows: slice) -> Features:
    return Features(features.vectors[rows], features.labels[rows], features.classes)


@breaks("search_gives_usable_trials")
class NoTrials(ToyProbe):
    """Returns no trial, because there is only one setting."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        return []


@breaks("search_gives_usable_trials")
class ValueInPercent(ToyProbe):
    """Returns accuracies in percent."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        return [
            Trial(trial.params, 100 * trial.value) for trial in super().search(train, val, metric=metric, seed=seed)
        ]


@breaks("search_gives_usable_trials")
class TensorInParams(ToyProbe):
    """Stores a tensor in a setting, which cannot be written to a record."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        trials = super().search(train, val, metric=metric, seed=seed)
        return [Trial({"share": torch.tensor(trial.params["share"])}, trial.value) for trial in trials]  # type: ignore[dict-item]


@breaks("search_gives_usable_trials")
class NestedParams(ToyProbe):
    """Stores a tuple in a setting, which JSON changes to a list."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        trials = super().search(train, val, metric=metric, seed=seed)
        return [Trial({**trial.params, "shape": (1, 2)}, trial.value) for trial in trials]  # type: ignore[dict-item]


@breaks("search_measures_on_val")
class MeasuresOnTrain(ToyProbe):
    """Measures on the train images."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        return super().search(train, train, metric=metric, seed=seed)


@breaks("search_measures_on_val")
class OwnMetric(ToyProbe):
    """Computes the accuracy in place of the given metric."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        def own(scores: Tensor, labels: Tensor) -> float:
            return float((scores.argmax(1) == labels).float().mean())

        return super().search(train, val, metric=own, seed=seed)


@breaks("other_points_do_not_matter")
class SharedScale(ToyProbe):
    """Scales all points by the standard deviation of the first."""

    def search_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> list[list[Trial]]:
        scale = points[0][0].vectors.std()
        scaled = [[Features(part.vectors / scale, part.labels, part.classes) for part in point] for point in points]
        return [self.search(train, val, metric=metric, seed=seed) for train, val in scaled]


@breaks("other_points_do_not_matter")
class SortedByWidth(ToyProbe):
    """Sorts points by width, and returns the trials in that order."""

    def search_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> list[list[Trial]]:
        by_width = sorted(points, key=lambda point: point[0].vectors.shape[1])
        return [self.search(train, val, metric=metric, seed=seed) for train, val in by_width]


@breaks("other_points_do_not_matter")
class OnlyTheBestPoint(ToyProbe):
    """Returns the trials of the best point only."""

    def search_many(
        self, points: Sequence[tuple[Features, Features]], *, metric: Metric, seed: int
    ) -> list[list[Trial]]:
        tried = [self.search(train, val, metric=metric, seed=seed) for train, val in points]
        return [max(tried, key=lambda trials: max(trial.value for trial in trials))]


@breaks("every_trial_can_be_fitted")
class SettingsInSelf(ToyProbe):
    """Stores a part of the setting in the probe, which a later run does not have."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._settings: dict[str, float] = {}

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        self._settings = {f"setting {number}": share for number, share in enumerate(self.shares)}
        scored = [self.fit(train, {"name": name}, seed=seed).scores(val.vectors) for name in self._settings]
        return [
            Trial({"name": name}, metric(scores, val.labels))
            for name, scores in zip(self._settings, scored, strict=True)
        ]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        return super().fit(train, {"share": self._settings[str(params["name"])]}, seed=seed)


@breaks("scores_are_usable")
class ScoresWithNaN(ToyProbe):
    """Divides by the distance to a train image, which may be 0."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        known = train.vectors[0]

        def divide(vectors: Tensor) -> Tensor:
            distances: Tensor = (vectors - known).norm(dim=1, keepdim=True)
            return vectors + (0 * known) / distances

        return _Changed(super().fit(train, params, seed=seed), vectors=divide)


@breaks("scores_are_usable")
class NoCandidateFarAway(ToyProbe):
    """Returns minus infinity for all classes of distant images."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        def cut(scores: Tensor) -> Tensor:
            return scores.where(scores > scores.amax() - 1e-6, -torch.inf)

        return _Changed(super().fit(train, params, seed=seed), scores=cut)


@breaks("scores_are_usable")
class ScoresWithGradients(ToyProbe):
    """Returns scores with gradients."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        weight = torch.ones((), requires_grad=True)
        return _Changed(super().fit(train, params, seed=seed), scores=functools.partial(operator.mul, weight))


@breaks("scores_are_usable")
class DoublePrecisionScores(ToyProbe):
    """Returns float64 scores."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        return _Changed(super().fit(train, params, seed=seed), scores=lambda scores: scores.double().softmax(1))


@breaks("other_test_images_do_not_matter")
class CentresTestImages(ToyProbe):
    """Centres the test images with their own mean, which is transductive."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        mean = train.vectors.mean(0)
        shifted = super().fit(train, params, seed=seed)
        return _Changed(shifted, vectors=lambda vectors: vectors - vectors.mean(0) + mean)


@breaks("one_seed_gives_one_result")
class IgnoresTheSeed(ToyProbe):
    """Seeds each fit with a counter in place of the seed."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        noise = torch.randn(train.vectors.shape, generator=torch.Generator().manual_seed(next(_fits)))
        return super().fit(Features(train.vectors + 0.1 * noise, train.labels, train.classes), params, seed=seed)


@breaks("fits_share_no_state")
class KeepsTheLastFit(ToyProbe):
    """Stores fitted values in the probe, where the next fit overwrites them."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._last = ToyFitted(torch.zeros(1, 1))

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        fitted = super().fit(train, params, seed=seed)
        if isinstance(fitted, ToyFitted):
            means = torch.zeros(max(8, train.classes), 64)
            means[: train.classes, : train.vectors.shape[1]] = fitted.means
            self._last.means = means
        classes, dim = train.classes, train.vectors.shape[1]
        return _Changed(
            self._last,
            vectors=lambda vectors: torch.nn.functional.pad(vectors, (0, 64 - dim)),
            scores=lambda scores: scores[:, :classes],
        )


@breaks("inputs_are_not_modified")
class NormalisesTrainInPlace(ToyProbe):
    """Normalises the train features in place."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        train.vectors.div_(train.vectors.norm(dim=1, keepdim=True).clamp_min(1e-12))
        return super().fit(train, params, seed=seed)


@breaks("inputs_are_not_modified")
class NormalisesTestInPlace(ToyProbe):
    """Normalises the scored features in place."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        return _Changed(super().fit(train, params, seed=seed), vectors=lambda vectors: vectors.mul_(2).div_(3))


@breaks("random_state_is_untouched")
class ShufflesGlobally(ToyProbe):
    """Shuffles with the global state of torch."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        order = torch.randperm(len(train.labels))
        return super().fit(Features(train.vectors[order], train.labels[order], train.classes), params, seed=seed)


@breaks("separable_features_are_separated")
class DistancesAsScores(ToyProbe):
    """Returns distances as scores, so that the farthest class is predicted."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        return _Changed(super().fit(train, params, seed=seed), scores=lambda scores: -scores)


@breaks("random_features_give_chance")
class UsesTheOrder(ToyProbe):
    """Predicts the class from the position of an image."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        def by_position(scores: Tensor) -> Tensor:
            rows = torch.arange(len(scores))
            return scores.scatter_add(1, (rows % train.classes)[:, None], torch.full((len(scores), 1), 1e3))

        return _Changed(super().fit(train, params, seed=seed), scores=by_position)


@breaks("train_order_does_not_matter")
class FirstRowsOnly(ToyProbe):
    """Uses the first rows only, as a fit that stops after its first batch."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        return super().fit(_part(train, slice(0, 30)), params, seed=seed)


class _NeedsRows(ToyProbe):
    rows = 1

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        train.vectors.topk(self.rows, dim=0)  # raises an error if there are fewer rows
        return super().fit(train, params, seed=seed)


@breaks("one_image_per_class_is_enough")
class FixedNumberOfNeighbours(_NeedsRows):
    """Calls topk with a k that is larger than the train set."""

    rows = 20


@breaks("one_image_is_enough")
class NeedsTwoImages(_NeedsRows):
    """Needs at least two images, for example for a standard deviation."""

    rows = 2


@breaks("two_classes_are_enough")
class AlwaysTopThree(ToyProbe):
    """Needs at least three classes."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        def top3(scores: Tensor) -> Tensor:
            best = scores.topk(3, dim=1)
            return torch.full_like(scores, -torch.inf).scatter(1, best.indices, best.values)

        return _Changed(super().fit(train, params, seed=seed), scores=top3)


@breaks("class_absent_from_train_is_accepted")
class ClassesFromLabels(ToyProbe):
    """Computes the number of classes from the largest label."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        seen = int(train.labels.max()) + 1
        return super().fit(Features(train.vectors, train.labels, seen), params, seed=seed)


@breaks("class_absent_from_train_is_accepted")
class RenumbersTheLabels(ToyProbe):
    """Renumbers labels without gaps, and returns the columns in this order."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        labels = torch.unique(train.labels, return_inverse=True)[1]
        return super().fit(Features(train.vectors, labels, train.classes), params, seed=seed)


@breaks("class_absent_from_test_is_accepted")
class ClassesFromVal(ToyProbe):
    """Computes the number of classes from val."""

    def search(self, train: Features, val: Features, *, metric: Metric, seed: int) -> list[Trial]:
        seen = int(val.labels.max()) + 1
        known = train.labels < seen
        part = Features(train.vectors[known], train.labels[known], seen)
        trials = super().search(part, val, metric=metric, seed=seed)
        return [Trial({**trial.params, "columns": seen}, trial.value) for trial in trials]

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        columns = int(params.get("columns") or train.classes)
        return _Changed(super().fit(train, params, seed=seed), scores=lambda scores: scores[:, :columns])


@breaks("constant_features_are_accepted")
class DividesByZeroDeviation(ToyProbe):
    """Standardises features, with a division by zero for constant ones."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        mean, deviation = train.vectors.mean(0), train.vectors.std(0, correction=0)

        def standardise(vectors: Tensor) -> Tensor:
            return (vectors - mean) / deviation

        fitted = super().fit(Features(standardise(train.vectors), train.labels, train.classes), params, seed=seed)
        return _Changed(fitted, vectors=standardise)


@breaks("extreme_scales_are_accepted")
class OverflowingSoftmax(ToyProbe):
    """Computes softmax without subtracting the maximum, so that exp() overflows."""

    def fit(self, train: Features, params: Mapping[str, Scalar], *, seed: int) -> Fitted:
        def softmax(scores: Tensor) -> Tensor:
            weights = (scores - scores.mean(1, keepdim=True)).exp()
            return weights / weights.sum(1, keepdim=True)

        return _Changed(super().fit(train, params, seed=seed), scores=softmax)
