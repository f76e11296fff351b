"""`fewshot`: which images are sampled, and that the inner probe is fitted on these only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from probebench.api import Features, Probe, Trial
from probebench.stats.metrics import predictions, top1
from probebench_probes import FewshotOptions, KnnOptions
from probebench_probes.fewshot import Fewshot, sample_shots
from probebench_probes.neighbours.knn import Knn


def features(count: int, seed: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    centres = torch.randn(4, 6, generator=torch.Generator().manual_seed(77))
    return Features(centres[labels] + 0.7 * torch.randn(count, 6, generator=generator), labels, 4, (6,))


TRAIN, VAL = features(200, 0), features(100, 1)


def test_the_views_of_the_sampled_images_are_passed_on():
    class Inner(Probe):
        def search(self, train, val, *, metric, seed):
            passed.append(train)
            return [Trial({}, 0.0)]

        def fit(self, train, params, *, seed):
            passed.append(train)

    passed: list[Features] = []
    viewed = Features(TRAIN.vectors, TRAIN.labels, 4, (6,), (TRAIN.vectors + 1, TRAIN.vectors + 2))
    fewshot = Fewshot(FewshotOptions(shots=3), Inner())
    fewshot.search(viewed, VAL, metric=top1, seed=0)
    fewshot.fit(viewed, {}, seed=0)
    for few in passed:
        assert len(few.vectors) == 3 * 4
        assert [torch.equal(view, few.vectors + add) for add, view in enumerate(few.views, start=1)] == [True, True]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 3))
def test_every_class_gives_its_shots_or_all_it_has(labels, count, seed):
    classes = torch.tensor(labels)
    rows = sample_shots(classes, count, seed=seed)
    assert len(rows.unique()) == len(rows)
    assert torch.equal(rows, rows.sort().values)
    assert torch.equal(classes[rows].bincount(minlength=6), classes.bincount(minlength=6).clamp_max(count))
    more = sample_shots(classes, count + 3, seed=seed)
    assert set(rows.tolist()) <= set(more.tolist())


def test_a_seed_samples_the_same_images_again_and_another_seed_others():
    assert torch.equal(sample_shots(TRAIN.labels, 5, seed=1), sample_shots(TRAIN.labels, 5, seed=1))
    assert not torch.equal(sample_shots(TRAIN.labels, 5, seed=1), sample_shots(TRAIN.labels, 5, seed=2))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_is_scikit_learn_on_the_same_few_images(seed):
    probe = Fewshot(FewshotOptions(shots=3), Knn(KnnOptions(distance="euclidean", vote="uniform", ks=(1,))))
    (trial,) = probe.search(TRAIN, VAL, metric=top1, seed=seed)
    scores = probe.fit(TRAIN, trial.params, seed=seed).scores(VAL.vectors)
    rows = sample_shots(TRAIN.labels, 3, seed=seed)
    reference = KNeighborsClassifier(1).fit(TRAIN.vectors[rows], TRAIN.labels[rows])
    assert np.array_equal(predictions(scores), reference.predict(VAL.vectors))
    assert trial.value == pytest.approx(reference.score(VAL.vectors, VAL.labels))


def test_seeds_are_independent_of_each_other_and_of_what_ran_before():
    """In EVA, repeated runs share one random stream, so that run i cannot be repeated alone."""
    probe = Fewshot(FewshotOptions(shots=2), Knn(KnnOptions(ks=(1,))))
    alone = [probe.search(TRAIN, VAL, metric=top1, seed=seed)[0].value for seed in (4, 3)]
    again = [probe.search(TRAIN, VAL, metric=top1, seed=seed)[0].value for seed in (3, 4)]
    assert alone == again[::-1]
    assert len({probe.search(TRAIN, VAL, metric=top1, seed=seed)[0].value for seed in range(5)}) > 1


def test_the_inner_probe_gets_the_device_the_shape_and_the_whole_of_val():
    calls = {}

    class Inner(Probe):
        def move_to(self, device, precision):
            calls["place"] = device, precision

        def search(self, train, val, *, metric, seed):
            calls["tune"] = train, val
            return [Trial({}, 0.5)]

        def fit(self, train, params, *, seed):
            calls["fit"] = train

    probe = Fewshot(FewshotOptions(shots=2), Inner())
    probe.move_to("cuda:1", "bf16")
    probe.search(TRAIN, VAL, metric=top1, seed=0)
    probe.fit(TRAIN, {}, seed=0)
    assert calls["place"] == ("cuda:1", "bf16")
    train, val = calls["tune"]
    assert (train.shape, train.classes, len(train.labels)) == ((6,), 4, 8)
    assert val is VAL
    assert torch.equal(calls["fit"].labels, train.labels)
