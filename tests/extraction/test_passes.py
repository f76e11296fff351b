from __future__ import annotations

import errno
import gc
import hashlib
import os
import weakref

import pytest
import torch

from probebench.api import Backbone, Level, Point, Split, Tap, normal
from probebench.extraction.images import check_input_range
from probebench.extraction.passes import extract
from probebench.store.features import Store
from probebench.util.errors import DataError, FeatureError, PluginError, ProbebenchWarning, StoreError

POINTS = [Point(tap, level, "gap") for tap in ("down.0", "mid", "up.0") for level in ("t=0", "t=10")]


class Images(Split):
    """Random images; counts how often each is read."""

    def __init__(self, count: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
        self.read: list[int] = []

    def __len__(self):
        return len(self.pixels)

    def image(self, index):
        self.read.append(index)
        return self.pixels[index]

    def labels(self):
        return torch.zeros(len(self), dtype=torch.int64)

    def fingerprint(self):
        return hashlib.sha256(self.pixels.numpy().tobytes()).hexdigest()


class Noisy(Backbone):
    """Three linear blocks on an image with per-image noise; counts what it forwards."""

    input_range = (-1.0, 1.0)

    def __init__(self, batch_size: int = 4, weights: int = 0) -> None:
        self.batch_size = batch_size
        generator = torch.Generator().manual_seed(weights)
        self.blocks = {tap: torch.randn((192, 5 + n), generator=generator) for n, tap in enumerate(TAPS)}
        self.forwarded: list[int] = []
        self.requested: list[set[Point]] = []
        self.moved: list[tuple[str, str]] = []
        self.grad: list[bool] = []

    def taps(self, image_size):
        return tuple(Tap(tap, "vector", (5 + n,)) for n, tap in enumerate(TAPS))

    def levels(self):
        return (Level("t=0", 0.01), Level("t=10", 0.1))

    def move_to(self, device, precision):
        self.moved.append((device, precision))

    def prepare(self, images):
        return images.float() / 127.5 - 1

    def extract(self, batch, points, *, seed):
        self.forwarded += batch.index.tolist()
        self.requested.append(set(points))
        self.grad.append(torch.is_grad_enabled())
        clean = self.prepare(batch.images).flatten(1)
        noise = normal((192,), seed=seed, source=batch.source, index=batch.index.tolist())
        sigma = {level.id: level.sigma for level in self.levels()}
        return {point: (clean + sigma[point.level] * noise) @ self.blocks[point.tap] for point in points}

    def fingerprint(self):
        weights = b"".join(weight.numpy().tobytes() for weight in self.blocks.values())
        return hashlib.sha256(weights).hexdigest()


TAPS = ("down.0", "mid", "up.0")


def run(backbone, split, store, **changes):
    arguments = {
        "identity": {"name": "acme/noisy", "version": 1, "options": {}},
        "source": "toy/train",
        "index": None,
        "points": POINTS,
        "seed": 0,
        "device": "cpu",
        "precision": "fp32",
        "store": store,
        "shard_rows": 10,
    }
    return extract(backbone, split, **{**arguments, **changes})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def read_all(extraction):
    return {point: handle.read() for point, handle in extraction.features.items()}


def test_one_pass_gives_all_points(store):
    backbone, split = Noisy(), Images(25)
    extraction = run(backbone, split, store)
    assert backbone.forwarded == split.read == list(range(25))
    assert extraction.forwarded == 25
    assert extraction.seconds > 0
    assert list(extraction.features) == POINTS
    clean = split.pixels.float().flatten(1) / 127.5 - 1
    noise = normal((192,), seed=0, source="toy/train", index=range(25))
    for point, rows in read_all(extraction).items():
        expected = (clean + (0.01 if point.level == "t=0" else 0.1) * noise) @ backbone.blocks[point.tap]
        torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-4)


def test_a_second_run_forwards_and_reads_nothing(store):
    first = read_all(run(Noisy(), Images(25), store))
    backbone, split = Noisy(), Images(25)
    again = run(backbone, split, store)
    assert (again.forwarded, backbone.forwarded, split.read, backbone.moved) == (0, [], [], [])
    assert all(torch.equal(rows, first[point]) for point, rows in read_all(again).items())


def test_only_missing_points_are_requested(store):
    run(Noisy(), Images(25), store, points=POINTS[:2])
    backbone = Noisy()
    assert run(backbone, Images(25), store, points=POINTS[:4]).forwarded == 25
    assert set().union(*backbone.requested) == set(POINTS[2:4])


def test_only_missing_shards_are_forwarded(store):
    extraction = run(Noisy(), Images(25), store)
    whole = read_all(extraction)
    for point, number in ((POINTS[0], 1), (POINTS[1], 1), (POINTS[1], 2)):
        next(extraction.features[point].entry.folder.glob(f"{number:06d}-*")).unlink()
    backbone = Noisy()
    with pytest.warns(ProbebenchWarning, match="is missing"):
        again = run(backbone, Images(25), store)
    assert again.forwarded == 15
    assert backbone.forwarded == list(range(10, 25))
    assert backbone.requested[0] == set(POINTS[:2])
    assert backbone.requested[-1] == {POINTS[1]}
    assert all(torch.equal(rows, whole[point]) for point, rows in read_all(again).items())


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_features_do_not_depend_on_the_batch_size(tmp_path, batch_size):
    whole = read_all(run(Noisy(batch_size=16), Images(25), Store(tmp_path / "16")))
    other = read_all(run(Noisy(batch_size=batch_size), Images(25), Store(tmp_path / "other")))
    for point in POINTS:
        torch.testing.assert_close(other[point], whole[point], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("points", [POINTS[:1], POINTS[3:], POINTS[::2], POINTS[::-1], POINTS[:1] * 2])
def test_features_do_not_depend_on_the_other_points(tmp_path, points):
    whole = read_all(run(Noisy(), Images(25), Store(tmp_path / "whole")))
    some = read_all(run(Noisy(), Images(25), Store(tmp_path / "some"), points=points))
    assert some.keys() == set(points)
    assert all(torch.equal(some[point], whole[point]) for point in points)


def test_rows_follow_the_index_and_keep_their_noise(tmp_path):
    """Images of a carved validation part have the features that they have in train."""
    whole = read_all(run(Noisy(), Images(25), Store(tmp_path / "whole")))
    index = torch.tensor([24, 3, 17, 0, 3])
    some = read_all(run(Noisy(), Images(25), Store(tmp_path / "some"), index=index))
    for point in POINTS:
        torch.testing.assert_close(some[point], whole[point][index], rtol=1e-5, atol=1e-5)


def test_an_index_of_all_images_in_order_equals_none(store):
    run(Noisy(), Images(25), store)
    assert run(Noisy(), Images(25), store, index=torch.arange(25)).forwarded == 0


@pytest.mark.parametrize(
    ("backbone", "split", "changes"),
    [
        (Noisy(weights=1), Images(25), {}),
        (Noisy(), Images(25, seed=1), {}),
        (Noisy(), Images(24), {}),
        (Noisy(), Images(25), {"seed": 1}),
        (Noisy(), Images(25), {"precision": "bf16"}),
        (Noisy(), Images(25), {"source": "toy/test"}),
        (Noisy(), Images(25), {"index": torch.arange(24, -1, -1)}),
        (Noisy(), Images(25), {"identity": {"name": "acme/noisy", "version": 2, "options": {}}}),
        (Noisy(), Images(25), {"identity": {"name": "acme/noisy", "version": 1, "options": {"resize": 64}}}),
        (Noisy(), Images(25), {"points": [Point("mid", "t=10", "max")]}),
    ],
    ids=["weights", "images", "count", "seed", "precision", "source", "order", "version", "options", "pool"],
)
def test_everything_that_changes_a_feature_changes_its_key(store, backbone, split, changes):
    run(Noisy(), Images(25), store)
    assert run(backbone, split, store, **changes).forwarded == len(split)


def test_another_noise_seed_gives_other_features(store):
    first, other = (read_all(run(Noisy(), Images(25), store, seed=seed)) for seed in (0, 1))
    assert not any(torch.equal(first[point], other[point]) for point in POINTS)


def test_features_broken_after_the_pass_are_computed_again_when_read(store):
    backbone = Noisy()
    extraction = run(backbone, Images(25), store)
    whole = read_all(extraction)
    handle = extraction.features[POINTS[0]]
    broken = sorted(handle.entry.folder.glob("*.safetensors"))[2]
    broken.write_bytes(broken.read_bytes()[:-1])
    with pytest.warns(ProbebenchWarning, match=f"{broken.name} is truncated or altered"):
        assert torch.equal(handle.read(), whole[POINTS[0]])
    assert extraction.forwarded == 30
    assert backbone.requested[-1] == {POINTS[0]}
    assert torch.equal(handle.read(), whole[POINTS[0]])
    assert extraction.forwarded == 30


def test_the_backbone_is_moved_once(store):
    backbone = Noisy()
    run(backbone, Images(25), store)
    run(backbone, Images(5), store, source="toy/test")
    assert backbone.moved == [("cpu", "fp32")]
    with pytest.raises(ValueError, match="cannot be moved to cpu in bf16"):
        run(backbone, Images(25), store, precision="bf16")


def test_no_gradient_is_kept(store):
    backbone = Noisy()
    run(backbone, Images(25), store)
    assert set(backbone.grad) == {False}


def test_progress_counts_images_to_the_total(store):
    calls = []
    run(Noisy(), Images(25), store, progress=lambda *call: calls.append(call))
    assert calls == [(done, 25) for done in (4, 8, 10, 14, 18, 20, 24, 25)]


def test_memory_is_bounded_by_one_shard(store, monkeypatch):
    """Counts the rows of features that are alive."""
    point = POINTS[0]

    class Watched(Noisy):
        def extract(self, batch, points, *, seed):
            features = super().extract(batch, points, seed=seed)
            alive.add(features[point])
            peak.append(sum(len(rows) for rows in alive))
            return features

    shards = []
    empty = torch.empty

    def watch(*shape, **options):
        tensor = empty(*shape, **options)
        shards.append(weakref.ref(tensor))
        held.append(sum(len(rows) for ref in shards if (rows := ref()) is not None))
        return tensor

    alive: weakref.WeakSet = weakref.WeakSet()
    peak: list[int] = []
    held: list[int] = []
    monkeypatch.setattr("probebench.extraction.forward.torch.empty", watch)
    gc.disable()  # reference counting must be enough
    try:
        run(Watched(), Images(200), store, points=[point])
    finally:
        gc.enable()
    assert len(peak) == 60
    assert max(peak) <= 8
    assert max(held) <= 20


# Faulty images


class Broken(Images):
    def __init__(self, count, position, image):
        super().__init__(count)
        self.position, self.bad = position, image

    def image(self, index):
        if index != self.position:
            return super().image(index)
        if isinstance(self.bad, Exception):
            raise self.bad
        return self.bad


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (OSError("truncated PNG"), "cannot be read: OSError: truncated PNG"),
        (DataError("not a PNG", where="img/7.png", hint="download it again"), "cannot be read: not a PNG"),
        (torch.zeros(3, 8, 8), r"is torch.float32 \(3, 8, 8\), not uint8 \(3, H, W\)"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), r"is torch.uint8 \(1, 8, 8\), not uint8"),
        (torch.zeros(8, 8, dtype=torch.uint8), r"is torch.uint8 \(8, 8\), not uint8"),
        (torch.zeros(3, 8, 9, dtype=torch.uint8), r"has shape \(3, 8, 9\), and the images before it have \(3, 8, 8\)"),
        (None, "is NoneType, not uint8"),
    ],
)
def test_a_bad_image_is_named_and_stored_features_are_kept(store, image, words):
    with pytest.raises(DataError, match=f"^image 17 of toy/train {words}") as caught:
        run(Noisy(), Broken(25, 17, image), store)
    if isinstance(image, Exception):
        assert caught.value.__cause__ is image
    if isinstance(image, DataError):
        assert (caught.value.where, caught.value.hint) == ("img/7.png", "download it again")
    mended = Noisy()
    assert run(mended, Images(25), store).forwarded == 15
    assert mended.forwarded == list(range(10, 25))


def test_no_image_is_an_error(store):
    with pytest.raises(DataError, match="no image of toy/train"):
        run(Noisy(), Images(25), store, index=torch.tensor([], dtype=torch.int64))


@pytest.mark.parametrize("index", [[-1], [25]])
def test_an_index_outside_the_split_is_refused(store, index):
    with pytest.raises(ValueError, match="outside 0 to 24 of toy/train"):
        run(Noisy(), Images(25), store, index=torch.tensor(index))


# Faulty backbones


class Spoilt(Noisy):
    """Changes the features, the batch, or both."""

    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    def extract(self, batch, points, *, seed):
        features = super().extract(batch, points, seed=seed)
        return self.spoil(batch, features) or features


def with_value(value):
    def spoil(batch, features):
        features[POINTS[1]][batch.index == 17] = value

    return spoil


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_feature_that_is_not_finite_is_named(store, value):
    with pytest.raises(FeatureError) as caught:
        run(Spoilt(with_value(value)), Images(25), store)
    assert caught.value.what == f"{POINTS[1]} is NaN or infinite for image 17 of toy/train"
    assert run(Noisy(), Images(25), store).forwarded == 15


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda _, f: {p: rows.double() for p, rows in f.items()}, r"is torch.float64 \(4, 5\), not float32 \(4, D\)"),
        (lambda _, f: {p: rows[:-1] for p, rows in f.items()}, r"is torch.float32 \(3, 5\), not float32 \(4, D\)"),
        (lambda _, f: {p: rows[..., None] for p, rows in f.items()}, r"is torch.float32 \(4, 5, 1\), not"),
        (
            lambda b, f: {p: rows[:, int(b.index[0] == 8) :] for p, rows in f.items()},
            "width 4 at image 8 .* 5 elsewhere",
        ),
        (lambda b, f: {p: rows[:, int(b.index[0] >= 10) :] for p, rows in f.items()}, "width 4 at image 10 of .* 5"),
    ],
    ids=["type", "rows", "shape", "width within a shard", "width between shards"],
)
def test_features_of_the_wrong_shape_are_named(store, spoil, words):
    with pytest.raises(FeatureError, match=words) as caught:
        run(Spoilt(spoil), Images(25), store)
    assert "down.0@t=0@gap" in caught.value.what
    assert caught.value.where == "backbone acme/noisy"


def test_the_width_must_agree_with_what_is_stored(store):
    with pytest.raises(DataError):
        run(Noisy(), Broken(25, 17, OSError()), store)
    with pytest.raises(FeatureError, match="width 4 at image 10 of toy/train, and 5 elsewhere"):
        run(Spoilt(lambda _, f: {p: rows[:, 1:] for p, rows in f.items()}), Images(25), store)


def modify_images(batch, _):
    batch.images[0, 0, 0, 0] += 1


def modify_index(batch, _):
    batch.index.zero_()


def leave_out(_, features):
    del features[POINTS[1]]


def fail(*_):
    raise RuntimeError("mat1 and mat2 cannot be multiplied\nlong trace")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (modify_images, "modifies its input batch"),
        (modify_index, "modifies its input batch"),
        (leave_out, "returns no features of down.0@t=10@gap"),
        (fail, "fails: RuntimeError: mat1 and mat2 cannot be multiplied$"),
    ],
)
def test_a_backbone_that_breaks_its_contract_is_named(store, spoil, words):
    with pytest.raises(PluginError) as caught:
        run(Spoilt(spoil), Images(25), store)
    assert caught.match(f"(?m)^backbone acme/noisy {words}")
    assert caught.value.where == "images 0 to 3 of toy/train"
    assert caught.value.exit_code == 3


def test_the_cause_of_a_plugin_error_is_kept(store):
    with pytest.raises(PluginError) as caught:
        run(Spoilt(fail), Images(25), store)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_error_with_a_message_for_the_user_passes(store):
    def refuse(*_):
        raise FeatureError("levels above 900 are pure noise")

    with pytest.raises(FeatureError, match="pure noise"):
        run(Spoilt(refuse), Images(25), store)


def test_a_fingerprint_that_changes_on_the_device_is_refused(store):
    class Shifting(Noisy):
        def move_to(self, device, precision):
            self.blocks = {tap: weight.bfloat16().float() for tap, weight in self.blocks.items()}

    with pytest.raises(PluginError, match="the fingerprint of backbone acme/noisy changes"):
        run(Shifting(), Images(25), store)


def test_a_backbone_that_cannot_be_moved_is_named(store):
    class Immovable(Noisy):
        def move_to(self, device, precision):
            raise RuntimeError("no such device")

    with pytest.raises(PluginError, match="cannot be moved to cpu in fp32: RuntimeError: no such device"):
        run(Immovable(), Images(25), store)


class Scaled(Noisy):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def prepare(self, images):
        return super().prepare(images) * self.scale


@pytest.mark.parametrize("scale", [1.1, 127.5, float("nan")])
def test_an_input_out_of_range_is_refused_before_anything_is_stored(store, scale):
    with pytest.raises(FeatureError, match=r"not within -1 to 1\n  in: Scaled.prepare\n  try: correct"):
        run(Scaled(scale), Images(25), store)
    assert not store.root.exists()


def test_the_error_states_the_range_of_the_input_and_of_the_backbone():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, 3, 8, 8)
    with pytest.raises(FeatureError) as caught:
        check_input_range(Scaled(1.1), images)
    assert caught.value.what == "the input ranges from -1.1 to 1.1, not within -1 to 1"
    assert caught.value.where == "Scaled.prepare"
    check_input_range(Scaled(1.0005), images)
    with pytest.raises(PluginError, match="cannot prepare its input"):
        check_input_range(Scaled("1"), images)


# Faulty stores


def test_a_full_disk_stops_the_pass_and_the_next_run_resumes(store, monkeypatch):
    fsync, calls = os.fsync, []
    first_shard = 2 * 2 * len(POINTS)  # a key document and a shard of each point; every file syncs its folder too

    def fill_up(handle):
        calls.append(handle)
        if len(calls) > first_shard + 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill_up)
        with pytest.raises(StoreError, match="the disk is full"):
            run(Noisy(), Images(25), store)
    assert not list(store.root.rglob("*.tmp"))
    backbone = Noisy()
    again = run(backbone, Images(25), store)
    assert again.forwarded == 15
    assert backbone.requested[0] == set(POINTS[2:])
    fresh = read_all(run(Noisy(), Images(25), Store(store.root.parent / "fresh")))
    assert all(torch.equal(rows, fresh[point]) for point, rows in read_all(again).items())
