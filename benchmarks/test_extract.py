"""One pass for all taps, compared with one pass per tap and with a pass in every epoch of a probe; bf16 and fp32.

The first two pairs do not include the probe, which takes the same time.

Run it with ``pytest benchmarks/test_extract.py --benchmark-enable --benchmark-only``. ``PROBEBENCH_BENCH_IMAGES`` sets
the number of images, ``PROBEBENCH_BENCH_EPOCHS`` the number of probe epochs. Compare the rows of one run, which are
measured side by side. The ratio of bf16 and fp32 is below the table; the two are timed in turns.
"""

from __future__ import annotations

import itertools
import os

import pytest
import torch

from probebench.api import Batch, Point, Split
from probebench.extraction.forward import move_to_device
from probebench.extraction.passes import extract
from probebench.plugins import registry
from probebench.store.features import Store

SPEC = "ddpm:checkpoint=none"
LEVEL = "t=10"


class Images(Split):
    """Random images."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self._pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)

    def __len__(self) -> int:
        return len(self._pixels)

    def image(self, index: int) -> torch.Tensor:
        return self._pixels[index]

    def labels(self) -> torch.Tensor:
        return torch.zeros(len(self), dtype=torch.int64)

    def fingerprint(self) -> str:
        return f"random-{len(self)}"


@pytest.fixture(scope="module")
def images(measured):
    return Images(int(os.environ.get("PROBEBENCH_BENCH_IMAGES", 256 if measured else 4)))


@pytest.fixture(scope="module")
def epochs(measured):
    return int(os.environ.get("PROBEBENCH_BENCH_EPOCHS", 30 if measured else 2))


@pytest.fixture(scope="module")
def component():
    return registry.resolve("backbone", SPEC)


@pytest.fixture(scope="module")
def backbone(component):
    return component.build()


@pytest.fixture(scope="module")
def points(backbone):
    return nine_taps(backbone)


@pytest.fixture
def fresh_store(tmp_path):
    """Returns a function that makes an empty store, so that each round computes everything."""
    numbers = itertools.count()
    return lambda: Store(tmp_path / str(next(numbers)))


def run(component, backbone, images, points, store, precision="fp32"):
    return extract(
        backbone,
        images,
        identity=component.identity(),
        source="random",
        index=None,
        points=points,
        seed=0,
        device="cpu",
        precision=precision,
        store=store,
    )


def nine_taps(backbone):
    taps = [tap for tap in backbone.taps((32, 32)) if tap.default]
    assert len(taps) == 9
    return [Point(tap.id, LEVEL, "gap") for tap in taps]


@pytest.mark.benchmark(group="nine taps, bf16 and fp32")
def test_bf16_and_plain_fp32(in_turns, report_line, measured, images, fresh_store):
    """The network of 35.7 million weights: the default, and fp32 with batches of 128 in torch's memory layout."""
    component = registry.resolve("backbone", f"{SPEC},widths={'128+256+256+256' if measured else '8+8+8+8'}")
    ours, plain = component.build(), component.build()
    move_to_device(plain, "cpu", "fp32", "ddpm")
    plain.batch_size = 128
    points = nine_taps(ours)
    seconds = in_turns(
        bf16=lambda: run(component, ours, images, points, fresh_store(), "bf16"),
        fp32=lambda: run(component, plain, images, points, fresh_store()),
        rounds=2,
    )
    rates = {name: f"{len(images) / taken:.1f}" for name, taken in seconds.items()}
    report_line(f"images/s {rates}, bf16 {seconds['fp32'] / seconds['bf16']:.2f} times fp32")


@pytest.mark.benchmark(group="nine taps")
def test_one_pass_for_nine_taps(benchmark, component, backbone, images, points, fresh_store):
    extraction = benchmark.pedantic(
        lambda store: run(component, backbone, images, points, store),
        setup=lambda: ((fresh_store(),), {}),
        rounds=3,
    )
    assert extraction.forwarded == len(images)


@pytest.mark.benchmark(group="nine taps")
def test_nine_passes_for_nine_taps(benchmark, component, backbone, images, points, fresh_store):
    forwarded = benchmark.pedantic(
        lambda store: sum(run(component, backbone, images, [point], store).forwarded for point in points),
        setup=lambda: ((fresh_store(),), {}),
        rounds=3,
    )
    assert forwarded == 9 * len(images)


@pytest.mark.benchmark(group="a probe's epochs on one tap")
def test_one_pass_and_then_stored_features(benchmark, component, backbone, images, points, epochs, fresh_store):
    def probe(store):
        extraction = run(component, backbone, images, points[-1:], store)
        features = extraction.features[points[-1]].read()
        for _ in range(epochs):
            for index in torch.arange(len(images)).split(backbone.batch_size):
                features[index]
        return extraction

    extraction = benchmark.pedantic(probe, setup=lambda: ((fresh_store(),), {}), rounds=3)
    assert extraction.forwarded == len(images)


@pytest.mark.benchmark(group="a probe's epochs on one tap")
def test_a_pass_in_every_epoch(benchmark, backbone, images, points, epochs):
    def probe():
        forwarded = 0
        for _ in range(epochs):
            for index in torch.arange(len(images)).split(backbone.batch_size):
                pixels = torch.stack([images.image(position) for position in index.tolist()])
                with torch.inference_mode():
                    backbone.extract(Batch(pixels, index, "random"), points[-1:], seed=0)
                forwarded += len(index)
        return forwarded

    assert benchmark.pedantic(probe, rounds=1) == epochs * len(images)
