"""STL-10: folds, sizes, and images without labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from probebench.api import DataError
from probebench_datasets.published.stl10 import STL10


def images_of(split) -> torch.Tensor:
    return torch.stack([split.image(index) for index in range(len(split))])


def test_names_of_classes():
    assert list(STL10.classes) == sorted(STL10.classes)


@pytest.mark.parametrize("fold", [0, 9])
def test_a_fold_is_the_published_part_of_train(tmp_path, make, fold):
    small = make("stl10", tmp_path)
    whole, part = small.build(), small.build(fold=fold)
    train, split = whole.split("train"), part.split("train")
    chosen = list(map(int, (small.folder / "fold_indices.txt").read_text().splitlines()[fold].split()))
    assert len(split) == 30
    assert torch.equal(images_of(split), images_of(train)[chosen])
    assert torch.equal(split.labels(), train.labels()[chosen])
    assert split.fingerprint() != train.fingerprint()
    digests = train.digests()
    assert list(split.digests()) == [digests[index] for index in chosen]
    assert torch.equal(part.split("test").labels(), whole.split("test").labels())


@pytest.mark.parametrize("text", ["0 1\n" * 9, "0 40\n" * 10, "\n" * 10])
def test_folds_that_do_not_fit(tmp_path, make, text):
    small = make("stl10", tmp_path)
    (small.folder / "fold_indices.txt").write_text(text)
    with pytest.raises(DataError, match=r"not one for each of 10 folds|has positions outside the 40 images"):
        small.with_current_checksums().build(fold=0).split("train")


def test_smaller_images_are_those_of_pillow(tmp_path, make):
    small = make("stl10", tmp_path)
    large, resized = small.build(), small.build(image_size=32)
    assert (large.image_size, resized.image_size) == ((96, 96), (32, 32))
    for name in ("train", "test"):
        assert torch.equal(resized.split(name).labels(), large.split(name).labels())
        for image, whole in zip(images_of(resized.split(name)), images_of(large.split(name)), strict=True):
            expected = Image.fromarray(whole.permute(1, 2, 0).numpy()).resize((32, 32), Image.Resampling.BICUBIC)
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(expected))
        assert resized.split(name).fingerprint() != large.split(name).fingerprint()
    assert resized.split("unlabeled").image(3).shape == (3, 32, 32)
    assert small.build(fold=3, image_size=32).split("train").image(0).shape == (3, 32, 32)


def test_unlabeled_images_are_for_generative_models_only(tmp_path, make, noise):
    dataset = make("stl10", tmp_path).build()
    assert "unlabeled" not in dataset.splits
    assert dataset.unlabeled == ("unlabeled",)
    split = dataset.split("unlabeled")
    assert np.array_equal(images_of(split).numpy(), noise(2, 12, 3, 96, 96))
    with pytest.raises(DataError, match=r"have no labels(?s:.)*--dataset stl10 --split unlabeled"):
        split.labels()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("test_X.bin", "which is not a whole number of images of 27,648 bytes"),
        ("test_y.bin", "test_y.bin has 19 labels for 20 images"),
    ],
)
def test_files_that_are_too_short(tmp_path, make, file, message):
    """Even if their checksums are the expected ones."""
    small = make("stl10", tmp_path)
    path = small.folder / file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=message) as error:
        small.with_current_checksums().build().split("test")
    assert error.value.where == str(path)


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path, make):
    small = make("stl10", tmp_path)
    split = small.build().split("test")
    path = small.folder / "test_X.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert split.image(18).shape == (3, 96, 96)
    with pytest.raises(DataError, match=r"test_X.bin became shorter(?s:.)*download the dataset again"):
        split.image(19)
