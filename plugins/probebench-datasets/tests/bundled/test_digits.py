"""The embedded datasets: the same images on every machine, and no sample in both splits."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from probebench.api import NoOptions, UsageError
from probebench_datasets import ScatteredDigitsOptions
from probebench_datasets.bundled.digits import Digits, ScatteredDigits

# Golden values. Stored features, committed records and the bundled checkpoints are known by these sums: a change to
# NumPy, PyTorch, scikit-learn or to our code that moves one grey value must be seen here, and not as a number on a
# board that nobody can repeat. If a change is meant, raise the dataset's version and make boards and checkpoints anew.
FINGERPRINTS = {
    ("digits", "train"): "3bd5baf5fd7d7122b0834d14dc815099a69bccd8c9c1d0766ed2b9f166e50be9",
    ("digits", "test"): "89ef5c0a8e3d10e5f1118d355095f1b0ee657257c2d807108bc493b630d4d133",
    ("scattered-digits", "train"): "a8d44eb0916ae2d0633bb321e8130c940a855e06b033f03e4cdcd4e84457167d",
    ("scattered-digits", "test"): "2346edee2c6f17214572473279a967125a9979a6fcfa0d106e046bc2ca37035d",
}
TRAIN_SAMPLES = range(1437)
TEST_SAMPLES = range(1437, 1797)


@pytest.fixture(scope="module")
def scattered():
    """All scenes: images and labels by split."""
    dataset = ScatteredDigits(ScatteredDigitsOptions())
    splits = {name: dataset.split(name) for name in dataset.splits}
    return {name: (torch.stack([split.image(i) for i in range(len(split))]), split) for name, split in splits.items()}


def small(train: int = 20, test: int = 20) -> ScatteredDigits:
    return ScatteredDigits(ScatteredDigitsOptions(train=train, test=test))


def draw(split: str, position: int) -> dict[str, int | list[int]]:
    """What is drawn for a scene, by the description of the dataset and not by its code."""
    seed = int.from_bytes(hashlib.sha256(f"scattered-digits/{split}/{position}".encode()).digest()[:16], "big")
    numbers = [int(number) for number in np.random.PCG64(seed).random_raw(9)]
    samples = TRAIN_SAMPLES if split == "train" else TEST_SAMPLES
    return {
        "sample": samples[numbers[0] % len(samples)],
        "top": numbers[1] % 7,
        "left": numbers[2] % 7,
        "ink": [112 + number % 144 for number in numbers[3:6]],
        "paper": [number % 112 for number in numbers[6:9]],
    }


def enlarge(grey: np.ndarray) -> np.ndarray:
    """8x8 to 10x10, bilinear between pixel centres, edges repeated: plain loops."""
    large = np.zeros((10, 10))
    for row in range(10):
        for column in range(10):
            y, x = (min(max((place + 0.5) * 0.8 - 0.5, 0), 7) for place in (row, column))
            top, left = int(y), int(x)
            below, right = min(top + 1, 7), min(left + 1, 7)
            upper = grey[top, left] * (left + 1 - x) + grey[top, right] * (x - left)
            lower = grey[below, left] * (left + 1 - x) + grey[below, right] * (x - left)
            large[row, column] = upper * (top + 1 - y) + lower * (y - top)
    return large


@pytest.mark.parametrize("split", ["train", "test"])
def test_fingerprints_of_the_scenes(scattered, split):
    assert scattered[split][1].fingerprint() == FINGERPRINTS["scattered-digits", split]


@pytest.mark.parametrize("split", ["train", "test"])
def test_fingerprints_of_the_digits(split):
    assert Digits(NoOptions()).split(split).fingerprint() == FINGERPRINTS["digits", split]


def test_a_fingerprint_sees_every_value_label_and_place():
    split = small().split("train")
    base = split.fingerprint()
    assert small().split("train").fingerprint() == base
    images, labels = vars(split)["_images"], vars(split)["_labels"]
    found = {base}
    images[3, 1, 5, 5] ^= 1
    found.add(split.fingerprint())
    labels[7] = (labels[7] + 1) % 10
    found.add(split.fingerprint())
    vars(split)["_images"] = images[::-1]
    found.add(split.fingerprint())
    assert len(found) == 4


@pytest.mark.parametrize("split", ["train", "test"])
def test_scenes_are_drawn_as_described(scattered, split):
    """The first hundred scenes, painted again by other code."""
    bunch = load_digits()
    images, held = scattered[split]
    labels = held.labels()
    for position in range(100):
        drawn = draw(split, position)
        share = enlarge(np.rint(bunch.images[drawn["sample"]] * 255 / 16) / 255)
        scene = np.empty((3, 16, 16))
        for channel in range(3):
            ink, paper = drawn["ink"][channel], drawn["paper"][channel]
            scene[channel] = paper
            window = np.s_[channel, drawn["top"] : drawn["top"] + 10, drawn["left"] : drawn["left"] + 10]
            scene[window] = paper * (1 - share) + ink * share
        assert np.abs(scene - images[position].numpy()).max() <= 0.5 + 1e-6, position
        assert labels[position] == bunch.target[drawn["sample"]]


def test_no_sample_is_in_both_splits(scattered):
    """By what the scenes are drawn from, and by the samples themselves: no two are equal across the splits."""
    used = {
        split: {draw(split, position)["sample"] for position in range(len(scattered[split][1]))} for split in scattered
    }
    assert not used["train"] & used["test"]
    assert len(used["train"]) > 0.95 * len(TRAIN_SAMPLES)
    assert len(used["test"]) > 0.95 * len(TEST_SAMPLES)
    plain = Digits(NoOptions())
    pixels = {
        name: {plain.split(name).image(i).numpy().tobytes() for i in range(len(plain.split(name)))}
        for name in ("train", "test")
    }
    assert not pixels["train"] & pixels["test"]


def test_no_scene_is_in_both_splits(scattered):
    scenes = {split: {image.numpy().tobytes() for image in images} for split, (images, _) in scattered.items()}
    assert len(scenes["train"]) == 6000
    assert len(scenes["test"]) == 2000
    assert not scenes["train"] & scenes["test"]


@pytest.mark.parametrize(("split", "count"), [("train", 6000), ("test", 2000)])
def test_classes_are_balanced(scattered, split, count):
    labels = scattered[split][1].labels()
    assert len(labels) == count
    share = torch.bincount(labels, minlength=10) / count
    assert len(share) == 10
    assert float((share - 0.1).abs().max()) < 0.025, "guessing gives 10 %"


@pytest.mark.parametrize("split", ["train", "test"])
def test_ink_is_brighter_than_paper_in_every_channel(scattered, split):
    """So every digit can be read, whatever its colours: nothing is darker than the paper around it."""
    images, _ = scattered[split]
    for position, image in enumerate(images):
        drawn = draw(split, position)
        paper = torch.tensor(drawn["paper"], dtype=torch.uint8).view(3, 1, 1)
        assert bool((image >= paper).all()), position
        outside = torch.ones(16, 16, dtype=torch.bool)
        outside[drawn["top"] : drawn["top"] + 10, drawn["left"] : drawn["left"] + 10] = False
        assert torch.equal(image[:, outside], paper[:, 0].expand(3, int(outside.sum()))), position
        assert float((image.int() - paper.int()).amax((1, 2)).sum()) > 30, f"digit {position} is as good as invisible"
        assert int(paper.max()) < 112 <= min(drawn["ink"])


def test_digits_are_at_every_place_alike(scattered):
    places = [(draw("train", position)["top"], draw("train", position)["left"]) for position in range(6000)]
    counts = torch.bincount(torch.tensor([7 * top + left for top, left in places]), minlength=49)
    assert len(counts) == 49
    expected = 6000 / 49
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 85, "the 99.9 % point of chi-square with 48 degrees of freedom"


def test_the_label_cannot_be_told_from_the_colours(scattered):
    """Colours are drawn for themselves: their mean over a class is that over all scenes."""
    images, split = scattered["train"]
    corner_paper = images.flatten(2).min(2).values.double()
    labels = split.labels()
    for digit in range(10):
        difference = corner_paper[labels == digit].mean(0) - corner_paper.mean(0)
        assert float(difference.abs().max()) < 5.5, digit  # 4 standard errors of 600 draws from 0..111


def test_a_scene_does_not_depend_on_the_number_of_scenes():
    few, many = small(12, 10).split("train"), small(40, 10).split("train")
    assert len(few) == 12
    assert len(many) == 40
    assert all(torch.equal(few.image(index), many.image(index)) for index in range(12))
    assert torch.equal(few.labels(), many.labels()[:12])
    assert torch.equal(small(10, 15).split("test").labels(), small(99, 30).split("test").labels()[:15])


@pytest.mark.parametrize("side", [8, 32])
def test_another_size_shows_the_same_scenes(side):
    dataset, plain = ScatteredDigits(ScatteredDigitsOptions(train=10, test=12, image_size=side)), small(10, 12)
    assert dataset.image_size == (side, side)
    for name in ("train", "test"):
        split, original = dataset.split(name), plain.split(name)
        assert torch.equal(split.labels(), original.labels())
        for index in range(len(split)):
            picture = Image.fromarray(original.image(index).numpy().transpose(1, 2, 0))
            expected = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            assert np.array_equal(split.image(index).numpy(), expected)


def test_the_usual_size_is_no_part_of_what_a_record_says():
    assert "image_size" in ScatteredDigitsOptions().unsaid()
    assert "image_size" not in ScatteredDigitsOptions(image_size=32).unsaid()


def test_a_split_cannot_be_changed_from_outside():
    split = small().split("train")
    before = split.fingerprint()
    split.image(0).zero_()
    split.labels().zero_()
    assert split.fingerprint() == before


@pytest.mark.parametrize("index", [-1, 20, 10**6])
def test_an_image_that_does_not_exist(index):
    with pytest.raises(IndexError, match=f"image {index} of 20"):
        small().split("train").image(index)


@pytest.mark.parametrize("dataset", [Digits(NoOptions()), small()], ids=["digits", "scattered-digits"])
def test_a_split_that_does_not_exist(dataset):
    with pytest.raises(UsageError, match=r"no split 'val'\n.*train or test") as error:
        dataset.split("val")
    assert error.value.exit_code == 2


@pytest.mark.parametrize("options", [{"train": 9}, {"test": 0}, {"train": 100_001}, {"val": 10}, {"image_size": 7}])
def test_sizes_that_make_no_dataset(options):
    with pytest.raises(ValueError, match=r"greater than or equal to \d+|less than or equal to 100000|Extra inputs"):
        ScatteredDigitsOptions(**options)


def test_the_plain_digits_are_those_of_scikit_learn():
    bunch = load_digits()
    dataset = Digits(NoOptions())
    train, test = dataset.split("train"), dataset.split("test")
    assert (len(train), len(test)) == (1437, 360)
    labels = torch.cat([train.labels(), test.labels()])
    assert labels.tolist() == bunch.target.tolist()
    images = torch.stack([split.image(i) for split in (train, test) for i in range(len(split))])
    assert images.shape == (1797, 3, 8, 8)
    assert (images.float().mean(1) - torch.from_numpy(bunch.images).float() * 255 / 16).abs().max() <= 0.5
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])


@pytest.mark.parametrize("dataset", [Digits, ScatteredDigits])
def test_mirrored_digits_are_no_digits(dataset):
    assert dataset.flips is False
    assert dataset.classes == tuple("0123456789")
