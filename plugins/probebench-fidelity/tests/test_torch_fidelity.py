"""From files to numbers, against torch-fidelity's own command.

The weights of Inception (96 MB) are not part of the repository: both sides use a small network of fixed weights.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch_fidelity import FeatureExtractorBase, calculate_metrics, register_feature_extractor
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from probebench.api import Backbone, Batch, ImageSet, Point, Tap
from probebench_fidelity.frechet_distance import FrechetDistance
from probebench_fidelity.inception_score import InceptionScore
from probebench_fidelity.kernel_distance import KernelDistance
from probebench_fidelity.options import FIDOptions, ISCOptions, KIDOptions, PRCOptions
from probebench_fidelity.precision_recall import PrecisionRecall

COUNTS = (90, 120)
WIDTH = 24


def small_network() -> torch.nn.Sequential:
    generator = torch.Generator().manual_seed(3)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(16, WIDTH, 3), torch.nn.AvgPool2d(3)
    )
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


class SmallExtractor(FeatureExtractorBase):
    """The extractor of torch-fidelity."""

    def __init__(self, name, features_list, **_):
        super().__init__(name, features_list)
        self.network = small_network()

    @staticmethod
    def get_provided_features_list():
        return ("mean",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "mean"

    def forward(self, images):
        return (self.network(images.float() / 127.5 - 1).flatten(1),)


class SmallBackbone(Backbone):
    """The extractor of probebench."""

    input_range = (-1.0, 1.0)

    def __init__(self):
        self.network = small_network()

    def taps(self, image_size):
        return [Tap("mean", "vector", (WIDTH,))]

    def prepare(self, images):
        return images.float() / 127.5 - 1

    def extract(self, batch, points, *, seed):
        return {point: self.network(self.prepare(batch.images)).flatten(1) for point in points}

    def fingerprint(self):
        return hashlib.sha256(b"small").hexdigest()


def read(folder) -> ImageSet:
    images = [
        torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).contiguous()
        for path in sorted(folder.iterdir())
    ]
    backbone, point, rows = SmallBackbone(), Point("mean", "clean", "flat"), []
    for start in range(0, len(images), 32):
        batch = Batch(torch.stack(images[start : start + 32]), torch.arange(start, start + 32), "test")
        rows.append(backbone.extract(batch, [point], seed=0)[point])
    return ImageSet(images, torch.cat(rows))


@pytest.fixture
def theirs(monkeypatch):
    """Measures two folders by the function that torch-fidelity's command calls."""
    monkeypatch.setattr("torch_fidelity.registry.FEATURE_EXTRACTORS_REGISTRY", dict(FEATURE_EXTRACTORS_REGISTRY))
    if "small" not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor("small", SmallExtractor)
        FEATURE_EXTRACTORS_REGISTRY["small"] = SmallExtractor

    def measure(generated, real):
        return calculate_metrics(
            input1=str(generated),
            input2=str(real),
            feature_extractor="small",
            fid=True,
            kid=True,
            prc=True,
            isc=True,
            kid_subset_size=60,
            cuda=False,
            save_cpu_ram=True,
            cache=False,
            verbose=False,
        )

    yield measure
    FEATURE_EXTRACTORS_REGISTRY.pop("small", None)


def ours(generated: ImageSet, real: ImageSet):
    found = {}
    for probe in (
        FrechetDistance(FIDOptions()),
        KernelDistance(KIDOptions(count=90, subset_size=60)),
        PrecisionRecall(PRCOptions()),
        InceptionScore(ISCOptions()),
    ):
        found |= probe.measure(generated, real)
    return found


def test_the_numbers_are_those_of_torch_fidelity(pictures, theirs):
    generated, real = pictures("generated", COUNTS[0], 100), pictures("real", COUNTS[1], 115)
    expected, found = theirs(generated, real), ours(read(generated), read(real))
    for name, key in {
        "fid": "frechet_inception_distance",
        "kid": "kernel_inception_distance_mean",
        "precision": "precision",
        "recall": "recall",
        "f-score": "f_score",
        "isc": "inception_score_mean",
    }.items():
        assert found[name].value == pytest.approx(expected[key], abs=1e-3, rel=1e-3), name
    assert found["kid"].sd == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-3)
    assert found["isc"].sd == pytest.approx(expected["inception_score_std"], rel=1e-3)
    assert expected["frechet_inception_distance"] > 0.1  # much larger than the tolerance


def test_a_second_run_gives_the_same_bits(pictures):
    generated, real = pictures("generated", COUNTS[0], 100), pictures("real", COUNTS[1], 115)
    assert ours(read(generated), read(real)) == ours(read(generated), read(real))
