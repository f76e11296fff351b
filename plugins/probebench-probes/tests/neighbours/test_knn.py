"""`knn` against scikit-learn, and failures of other tools."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from probebench.api import Features, ProbebenchWarning
from probebench.stats.metrics import mean_per_class, predictions, top1, top_k
from probebench_probes import KnnOptions
from probebench_probes.neighbours.knn import Knn

INF = float("inf")


def blobs(images: int, classes: int = 5, dimensions: int = 12, *, seed: int) -> Features:
    """Overlapping classes, so that neighbours disagree."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (images,), generator=generator)
    centres = torch.randn(classes, dimensions, generator=torch.Generator().manual_seed(99))
    return Features(centres[labels] + 1.5 * torch.randn(images, dimensions, generator=generator), labels, classes)


def scores_of(options: KnnOptions, train: Features, vectors: torch.Tensor, k: int) -> torch.Tensor:
    return Knn(options).fit(train, {"k": k}, seed=0).scores(vectors)


TRAIN, TEST = blobs(800, seed=0), blobs(300, seed=1)


@pytest.mark.parametrize("k", [1, 5, 20, 50, 200, 800])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_uniform_votes_equal_scikit_learn(distance, k):
    # Votes are counts, which do not round; neighbours would have to tie to 1e-12 to be ranked differently.
    reference = KNeighborsClassifier(k, metric=distance, algorithm="brute").fit(TRAIN.vectors.double(), TRAIN.labels)
    ours = predictions(scores_of(KnnOptions(distance=distance, vote="uniform"), TRAIN, TEST.vectors, k))
    assert np.array_equal(ours, reference.predict(TEST.vectors.double()))


@pytest.mark.parametrize("k", [5, 50, 200])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
def test_weighted_votes_equal_scikit_learn(distance, k, temperature, assert_same_predictions):
    centred = TRAIN.vectors.double() - TRAIN.vectors.double().mean(0)
    spread = float(centred.square().sum(1).mean().sqrt())

    def weights(distances):
        similarity = 1 - distances if distance == "cosine" else -(distances**2) / (2 * spread**2)
        return np.exp((similarity - similarity.max(1, keepdims=True)) / temperature)

    reference = KNeighborsClassifier(k, metric=distance, algorithm="brute", weights=weights)
    reference.fit(TRAIN.vectors.double(), TRAIN.labels)
    scores = scores_of(KnnOptions(distance=distance, temperature=temperature), TRAIN, TEST.vectors, k)
    expected = reference.predict_proba(TEST.vectors.double())
    assert_same_predictions(scores, expected, margin=1e-4)
    assert np.allclose(scores.softmax(1).numpy(), expected, atol=1e-5)


def test_real_digits_equal_scikit_learn():
    images, labels = load_digits(return_X_y=True)
    vectors = torch.from_numpy(images).float()
    train = Features(vectors[:1437], torch.from_numpy(labels[:1437]).long(), 10)
    ours = predictions(scores_of(KnnOptions(distance="euclidean", vote="uniform"), train, vectors[1437:], 5))
    reference = KNeighborsClassifier(5, algorithm="brute").fit(images[:1437], labels[:1437]).predict(images[1437:])
    # Integer images tie, and scikit-learn does not specify the order of ties.
    assert (ours.numpy() == reference).mean() >= 0.995
    assert (ours.numpy() == labels[1437:]).mean() > 0.95


@pytest.mark.parametrize("options", [KnnOptions(), KnnOptions(distance="euclidean"), KnnOptions(vote="uniform")])
def test_every_trial_is_what_its_fit_gives(options):
    trials = Knn(options).search(TRAIN, TEST, metric=mean_per_class, seed=0)
    assert [trial.params for trial in trials] == [{"k": k} for k in options.ks]
    for trial in trials:
        scores = Knn(options).fit(TRAIN, trial.params, seed=7).scores(TEST.vectors)
        assert trial.value == pytest.approx(mean_per_class(scores, TEST.labels), abs=1 / 250)  # one image


def test_the_order_of_train_images_does_not_matter(assert_same_predictions):
    order = torch.randperm(len(TRAIN.labels), generator=torch.Generator().manual_seed(3))
    shuffled = Features(TRAIN.vectors[order], TRAIN.labels[order], TRAIN.classes)
    for options in (KnnOptions(), KnnOptions(distance="euclidean"), KnnOptions(distance="euclidean", vote="uniform")):
        expected, found = (scores_of(options, train, TEST.vectors, 20) for train in (TRAIN, shuffled))
        assert torch.allclose(found, expected, atol=1e-5)
        if options.vote == "uniform":  # counts, which do not round
            assert torch.equal(predictions(found), predictions(expected))
        else:
            assert_same_predictions(found, expected, margin=1e-4)


def test_an_image_is_scored_alone_as_among_others():
    fitted = Knn(KnnOptions()).fit(TRAIN, {"k": 20}, seed=0)
    together = fitted.scores(TEST.vectors[:30])
    alone = torch.cat([fitted.scores(row[None]) for row in TEST.vectors[:30]])
    assert torch.allclose(alone, together, atol=1e-6)


def test_k_beyond_the_train_images_is_clamped_with_one_warning():
    """N1: the scripts of DINO and lightly crash if k exceeds the number of train images, or with few test images."""
    train, test = blobs(30, seed=2), blobs(50, seed=3)
    with pytest.warns(
        ProbebenchWarning, match="k = 50, 100, 200 is clamped to k = 30, the number of train images"
    ) as caught:
        trials = Knn(KnnOptions()).search(train, test, metric=top1, seed=0)
    assert len(caught) == 1
    assert [trial.params["k"] for trial in trials] == [1, 5, 10, 20, 30]
    with pytest.warns(ProbebenchWarning, match="k = 200") as caught:
        clamped = Knn(KnnOptions()).fit(train, {"k": 200}, seed=0)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(clamped.scores(test.vectors), scores_of(KnnOptions(), train, test.vectors, 30))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("temperature", [0.01, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_temperatures_and_half_precision_stay_finite(distance, temperature, dtype):
    """N2: in solo-learn exp(similarity / 0.01) is infinite in fp32, and the score is NaN."""
    train = Features(TRAIN.vectors.to(dtype), TRAIN.labels, TRAIN.classes)
    scores = scores_of(KnnOptions(distance=distance, temperature=temperature), train, train.vectors, 200)
    assert not scores.isnan().any()
    assert torch.equal(predictions(scores), TRAIN.labels)


def test_a_far_vote_remains_a_vote_at_any_temperature():
    train = Features(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 1]), 3)
    scores = scores_of(KnnOptions(temperature=1e-9), train, torch.tensor([[1.0, 0.0]]), 2)
    assert scores[0, 0] > scores[0, 1] > -INF
    assert scores[0, 2] == -INF


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_top_5_of_few_classes_credits_votes_only(classes):
    """N8: lightly computes the top 5 of every dataset. The vote of one neighbour is a candidate for one class only."""
    train, test = blobs(60, classes, seed=4), blobs(40, classes, seed=5)
    scores = scores_of(KnnOptions(), train, test.vectors, 1)
    assert ((scores > -INF).sum(1) == 1).all()
    assert top_k(scores, test.labels, 5) == top1(scores, test.labels)
    everyone = scores_of(KnnOptions(), train, test.vectors, 60)
    assert top_k(everyone, test.labels, 5) == 1.0


def test_a_class_may_be_absent_from_train_or_test():
    train = Features(TRAIN.vectors, TRAIN.labels % 3, 7)
    scores = scores_of(KnnOptions(), train, TEST.vectors, 50)
    assert scores.shape == (len(TEST.labels), 7)
    assert (scores[:, 3:] == -INF).all()
    assert 0 < top1(scores, TEST.labels % 3) < 1
    assert mean_per_class(scores, torch.full_like(TEST.labels, 5)) == 0.0


def test_the_thesis_protocol_is_50_plain_neighbours(thesis2024):
    thesis = Knn(KnnOptions(**thesis2024["knn"]))
    (trial,) = thesis.search(TRAIN, TEST, metric=top1, seed=0)
    reference = KNeighborsClassifier(50).fit(TRAIN.vectors.double(), TRAIN.labels)
    assert trial.params == {"k": 50}
    assert trial.value == pytest.approx(reference.score(TEST.vectors.double(), TEST.labels))


def test_the_shares_of_the_vote_are_probabilities():
    fitted = Knn(KnnOptions(vote="uniform")).fit(TRAIN, {"k": 10}, seed=0)
    assert fitted.logits
    shares = 10 * fitted.scores(TEST.vectors).softmax(1)
    assert torch.allclose(shares, shares.round(), atol=1e-4)
