"""k-NN and linear probes compared with scikit-learn on the same features, side by side in one run.

    pytest benchmarks/test_probes.py --benchmark-enable --benchmark-only --benchmark-group-by=group

The size is 50,000 x 256 with 10,000 queries and 10 classes, or ``PROBEBENCH_BENCH_IMAGES`` train images with a fifth as
many queries. Without ``--benchmark-enable`` the results of each pair are only compared, at a tiny size. On a busy
machine add ``--benchmark-timer=time.process_time`` and set ``OMP_NUM_THREADS=1``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probebench.api import Features
from probebench.stats.metrics import predictions, top1
from probebench_probes import KnnOptions, LinearOptions, LogregOptions, RidgeOptions
from probebench_probes.linear_models.linear import Linear
from probebench_probes.linear_models.logreg import Logreg
from probebench_probes.linear_models.ridge import Ridge
from probebench_probes.neighbours.knn import Knn
from probebench_probes.neighbours.search import Bank

DIMENSIONS, CLASSES = 256, 10
KS = (1, 5, 10, 20, 50, 100, 200)
DECAYS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


@dataclass(frozen=True)
class Sets:
    """The features, the same for both of a pair."""

    train: Features
    test: Features


@pytest.fixture(scope="module")
def sets(request) -> Sets:
    """Overlapping classes in features whose variance along the r-th principal axis falls as 1 / r^2.

    Features of an untrained convolutional network on scattered-digits have such variances; those of a trained denoiser
    fall faster. On uncorrelated features L-BFGS needs few steps, and the ratio of the linear probes is close to 1.
    """
    tiny = request.config.getoption("benchmark_disable") and not request.config.getoption("benchmark_enable")
    images = int(os.environ.get("PROBEBENCH_BENCH_IMAGES", 500 if tiny else 50_000))
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(DIMENSIONS, DIMENSIONS, generator=generator)).Q
    mixing = directions / torch.arange(1, DIMENSIONS + 1)[:, None]
    centres = 0.15 * torch.randn(CLASSES, DIMENSIONS, generator=generator)

    def sample(count: int) -> Features:
        labels = torch.randint(0, CLASSES, (count,), generator=generator)
        hidden = centres[labels] + torch.randn(count, DIMENSIONS, generator=generator)
        return Features(hidden @ mixing, labels, CLASSES)

    return Sets(sample(images), sample(images // 5))


def allowance(test: Features) -> float:
    """Returns the allowed difference in accuracy: 0.2 points at full size, three images at a tiny size."""
    return max(0.002, 3 / len(test.labels))


def numpy(features: Features) -> tuple[np.ndarray, np.ndarray]:
    return features.vectors.numpy(), features.labels.numpy()


@pytest.mark.benchmark(group="knn, euclidean, k = 20")
class TestOneK:
    def test_probebench(self, benchmark, sets):
        probe = Knn(KnnOptions(distance="euclidean", vote="uniform"))

        def predict():
            return predictions(probe.fit(sets.train, {"k": 20}, seed=0).scores(sets.test.vectors))

        ours = benchmark.pedantic(predict, rounds=1)
        benchmark.extra_info["top1"] = float((ours == sets.test.labels).double().mean())

    def test_scikit_learn(self, benchmark, sets):
        def predict():
            return KNeighborsClassifier(20, algorithm="brute").fit(*numpy(sets.train)).predict(numpy(sets.test)[0])

        theirs = benchmark.pedantic(predict, rounds=1)
        probe = Knn(KnnOptions(distance="euclidean", vote="uniform")).fit(sets.train, {"k": 20}, seed=0)
        assert np.array_equal(predictions(probe.scores(sets.test.vectors)), theirs)


@pytest.mark.benchmark(group="neighbours, euclidean, k = 20")
class TestSearch:
    """The search alone. scikit-learn and probebench rank in float64; faiss in float32, which swaps near neighbours."""

    def ours(self, sets: Sets) -> np.ndarray:
        return Bank(sets.train.vectors, "euclidean").search(sets.test.vectors, 20).index.numpy()

    def test_probebench(self, benchmark, sets):
        neighbours = benchmark.pedantic(lambda: self.ours(sets), rounds=1)
        assert neighbours.shape == (len(sets.test.labels), 20)

    def test_scikit_learn(self, benchmark, sets):
        def search():
            model = NearestNeighbors(n_neighbors=20, algorithm="brute").fit(numpy(sets.train)[0])
            return model.kneighbors(numpy(sets.test)[0], return_distance=False)

        theirs = benchmark.pedantic(search, rounds=1)
        assert np.array_equal(self.ours(sets), theirs)

    def test_faiss(self, benchmark, sets):
        faiss = pytest.importorskip("faiss", reason="uv sync --group benchmark installs it")
        faiss.omp_set_num_threads(torch.get_num_threads())

        def search():
            index = faiss.IndexFlatL2(DIMENSIONS)
            index.add(numpy(sets.train)[0])
            return index.search(numpy(sets.test)[0], 20)[1]

        theirs = benchmark.pedantic(search, rounds=1)
        assert (self.ours(sets) == theirs).mean() > 0.999


@pytest.mark.benchmark(group="knn, euclidean, accuracy of seven k from 1 to 200")
class TestAllKs:
    def test_probebench(self, benchmark, sets):
        probe = Knn(KnnOptions(distance="euclidean", vote="uniform", ks=KS))
        trials = benchmark.pedantic(lambda: probe.search(sets.train, sets.test, metric=top1, seed=0), rounds=1)
        assert len(trials) == len(KS)

    def test_scikit_learn(self, benchmark, sets):
        def accuracies():
            model = KNeighborsClassifier(algorithm="brute").fit(*numpy(sets.train))
            return [model.set_params(n_neighbors=k).score(*numpy(sets.test)) for k in KS]

        theirs = benchmark.pedantic(accuracies, rounds=1)
        probe = Knn(KnnOptions(distance="euclidean", vote="uniform", ks=KS))
        ours = [trial.value for trial in probe.search(sets.train, sets.test, metric=top1, seed=0)]
        assert ours == pytest.approx(theirs)


@pytest.mark.benchmark(group="linear, six weight decays, the best on the test set")
class TestLinear:
    """Twelve heads compared with six models, because L-BFGS has no learning rate."""

    def test_probebench(self, benchmark, sets):
        probe = Linear(LinearOptions(weight_decays=DECAYS))
        trials = benchmark.pedantic(lambda: probe.search(sets.train, sets.test, metric=top1, seed=0), rounds=1)
        benchmark.extra_info["top1"] = max(trial.value for trial in trials)

    # A thousand steps of L-BFGS are not always enough on these features.
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_scikit_learn(self, benchmark, sets):
        def best():
            strengths = [1 / (len(sets.train.labels) * decay) for decay in DECAYS]
            models = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in strengths]
            return max(model.fit(*numpy(sets.train)).score(*numpy(sets.test)) for model in models)

        theirs = benchmark.pedantic(best, rounds=1)
        benchmark.extra_info["top1"] = theirs
        probe = Linear(LinearOptions(weight_decays=DECAYS))
        ours = max(trial.value for trial in probe.search(sets.train, sets.test, metric=top1, seed=0))
        assert ours >= theirs - allowance(sets.test)


@pytest.mark.benchmark(group="linear, twelve heads at each of four points")
class TestSweep:
    """Four taps of 64 features: all heads of all points at once, one after another, or as models of scikit-learn.

    There are half as many models, one for each weight decay, because L-BFGS has no learning rate.
    """

    def points(self, sets: Sets) -> list[tuple[Features, Features]]:
        parts = [slice(start, start + 64) for start in range(0, DIMENSIONS, 64)]
        return [
            tuple(Features(one.vectors[:, part].contiguous(), one.labels, CLASSES) for one in (sets.train, sets.test))
            for part in parts
        ]

    def test_at_once(self, benchmark, sets):
        probe, points = Linear(LinearOptions()), self.points(sets)
        swept = benchmark.pedantic(lambda: probe.search_many(points, metric=top1, seed=0), rounds=1)
        benchmark.extra_info["top1"] = [max(trial.value for trial in trials) for trials in swept]

    def test_one_after_another(self, benchmark, sets):
        probe, points = Linear(LinearOptions()), self.points(sets)
        swept = probe.search_many(points, metric=top1, seed=0)

        def alone():
            return [
                [top1(probe.fit(train, trial.params, seed=0).scores(test.vectors), test.labels) for trial in trials]
                for (train, test), trials in zip(points, swept, strict=True)
            ]

        values = benchmark.pedantic(alone, rounds=1)
        benchmark.extra_info["top1"] = [max(ours) for ours in values]
        for trials, ours in zip(swept, values, strict=True):
            assert [trial.value for trial in trials] == pytest.approx(ours, abs=allowance(sets.test))

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_scikit_learn(self, benchmark, sets):
        points = self.points(sets)

        def best(train: Features, test: Features) -> float:
            strengths = [1 / (len(train.labels) * decay) for decay in DECAYS]
            models = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in strengths]
            return max(model.fit(*numpy(train)).score(*numpy(test)) for model in models)

        theirs = benchmark.pedantic(lambda: [best(train, test) for train, test in points], rounds=1)
        benchmark.extra_info["top1"] = theirs
        swept = Linear(LinearOptions(weight_decays=DECAYS)).search_many(points, metric=top1, seed=0)
        # 0.2 points. At a tiny size, thirty epochs are few steps, which do not reach the optimum.
        slack = max(0.002, 5 / len(sets.test.labels))
        for trials, reference in zip(swept, theirs, strict=True):
            assert max(trial.value for trial in trials) >= reference - slack


@pytest.mark.benchmark(group="logreg, six values of C, the best on the test set")
class TestLogreg:
    def strengths(self, sets: Sets) -> tuple[float, ...]:
        return tuple(1 / (len(sets.train.labels) * decay) for decay in DECAYS)

    def test_probebench(self, benchmark, sets):
        probe = Logreg(LogregOptions(cs=self.strengths(sets)))
        trials = benchmark.pedantic(lambda: probe.search(sets.train, sets.test, metric=top1, seed=0), rounds=1)
        benchmark.extra_info["top1"] = max(trial.value for trial in trials)

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_scikit_learn(self, benchmark, sets):
        def accuracies():
            strengths = self.strengths(sets)
            models = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000)) for c in strengths]
            return [model.fit(*numpy(sets.train)).score(*numpy(sets.test)) for model in models]

        theirs = benchmark.pedantic(accuracies, rounds=1)
        benchmark.extra_info["top1"] = max(theirs)
        probe = Logreg(LogregOptions(cs=self.strengths(sets)))
        ours = max(trial.value for trial in probe.search(sets.train, sets.test, metric=top1, seed=0))
        # Only the best is compared: at a large C, scikit-learn stops before the optimum.
        assert ours == pytest.approx(max(theirs), abs=allowance(sets.test))


@pytest.mark.benchmark(group="ridge, nine penalties, the best on the test set")
class TestRidge:
    def test_probebench(self, benchmark, sets):
        probe = Ridge(RidgeOptions())
        trials = benchmark.pedantic(lambda: probe.search(sets.train, sets.test, metric=top1, seed=0), rounds=1)
        benchmark.extra_info["top1"] = max(trial.value for trial in trials)

    def test_scikit_learn(self, benchmark, sets):
        def accuracies():
            models = [make_pipeline(StandardScaler(), RidgeClassifier(alpha)) for alpha in RidgeOptions().alphas]
            return [model.fit(*numpy(sets.train)).score(*numpy(sets.test)) for model in models]

        theirs = benchmark.pedantic(accuracies, rounds=1)
        benchmark.extra_info["top1"] = max(theirs)
        ours = [trial.value for trial in Ridge(RidgeOptions()).search(sets.train, sets.test, metric=top1, seed=0)]
        assert ours == pytest.approx(theirs, abs=allowance(sets.test))
