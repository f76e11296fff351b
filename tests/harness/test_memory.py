"""Memory: what grows with the number of images is the features that a probe must hold, and those once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref

import pytest

from probebench.extraction.passes import StoredFeatures
from probebench.testing.fakes import ToyProbe

PEAKS = """
import json, resource, sys, types
from pathlib import Path
import torch
from probebench.api import BackboneSpec, DatasetSpec, ProbeSpec, Split
from probebench.harness.runner import run
from probebench.plugins.loading import Plugin
from probebench.planning.request import Request
from probebench.plugins.discovery import Discovery
from probebench.plugins import registry
from probebench.planning.jobs import jobs
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyProbe

torch.set_num_threads(1)
SIDE = 64  # 12 KiB an image

class Images(Split):
    def __init__(self, count):
        self.count = count
    def __len__(self):
        return self.count
    def image(self, index):
        return torch.full((3, SIDE, SIDE), 64 * (1 + index % 3) + index % 7, dtype=torch.uint8)
    def labels(self):
        return torch.arange(self.count) % 3
    def fingerprint(self):
        return f"{self.count:064x}"

class Plain(ToyDataset):
    image_size = (SIDE, SIDE)
    def split(self, name):
        return Images(count if name == "train" else 300)

parts = sys.modules["parts"] = types.ModuleType("parts")
parts.net, parts.images, parts.means = ToyBackbone, Plain, ToyProbe
card = {"summary": "a toy"}
specs = (
    BackboneSpec(name="net", factory="parts:net", **card),
    DatasetSpec(name="images", factory="parts:images", **card),
    ProbeSpec(name="means", factory="parts:means", **card),
)
plugin = Plugin(
    entry_point="main",
    module="parts",
    distribution="lab",
    version="1.0",
    api=1,
    specs=specs,
    import_seconds=0,
    heavy=(),
)
registry.discover = lambda: Discovery((plugin,), ())
peaks = []
for count in map(int, sys.argv[2:]):
    folder = Path(sys.argv[1]) / str(count)
    names = dict(backbone=("net",), dataset=("images",), probe=("means",), levels=("clean",))
    listed = jobs(Request(**names, precision="fp32", device="cpu"))
    result = run(listed, results=folder / "r", store=folder / "s")
    assert not result.failed, result.failed[0].error
    assert result.forwarded["net", "images"] == count + 300
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
json.dump(peaks, sys.stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems count resident memory otherwise")
def test_five_times_the_images_take_no_more_memory(tmp_path):
    """Of 10,000 images that would be 118 MiB as uint8, and four times as much in fp32, a tenth may stay."""
    ended = subprocess.run(
        [sys.executable, "-c", PEAKS, str(tmp_path), "2000", "10000"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    few, many = json.loads(ended.stdout)
    assert many < few + 12 * 1024, f"{few} KiB for 2,000 images, {many} KiB for 10,000"


@pytest.fixture
def matrices(monkeypatch):
    """Weak references to all matrices that were read from the store."""
    found: list[weakref.ref] = []
    original = StoredFeatures.read

    def read(self):
        matrix = original(self)
        found.append(weakref.ref(matrix))
        return matrix

    monkeypatch.setattr(StoredFeatures, "read", read)
    return found


def test_a_probe_is_not_held_up_by_copies(lab, matrices):
    """The matrix of a point is gone while its two parts are tuned on, and the one that is fitted on is not copied."""
    alive = []

    class Watch(ToyProbe):
        def search_many(self, points, *, metric, seed):
            alive.append([matrix for matrix in matrices if matrix() is not None])
            return super().search_many(points, metric=metric, seed=seed)

        def fit(self, train, params, *, seed):
            if len(train.labels) == 60:  # train and val together
                alive.append([matrix() is train.vectors for matrix in matrices if matrix() is not None])
            return super().fit(train, params, seed=seed)

    lab.probe("watch", Watch)
    assert lab.record(probe=("watch",)).status == "success"
    assert alive == [[], [True]]
