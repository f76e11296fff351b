"""Splits: digests and fingerprints see every image, label and order, and a split cannot be changed from outside."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from probebench.api import DataError
from probebench_datasets.images.arrays import image_digest
from probebench_datasets.images.decoded_images import DecodedImages
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.images.encoded_images import ImageFiles
from probebench_datasets.images.splits import ArraySplit, DecodedSplit, UnlabeledSplit

COUNT = 150


def array_split(count: int = 20) -> ArraySplit:
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 6, 5), dtype=np.uint8)
    return ArraySplit(images, np.arange(count) % 10)


class TestArraySplit:
    def test_a_fingerprint_sees_every_value_label_and_position(self):
        split = array_split()
        prints = {split.fingerprint()}
        assert array_split().fingerprint() in prints
        images, labels = vars(split)["_images"], vars(split)["_labels"]
        images[3, 1, 5, 4] ^= 1
        prints.add(split.fingerprint())
        labels[7] = (labels[7] + 1) % 10
        prints.add(split.fingerprint())
        vars(split)["_images"] = images[::-1]
        prints.add(split.fingerprint())
        assert len(prints) == 4

    def test_a_split_cannot_be_changed_from_outside(self):
        split = array_split()
        before = split.fingerprint()
        split.image(0).zero_()
        split.labels().zero_()
        assert split.fingerprint() == before

    def test_digests_are_those_of_the_images(self):
        split = array_split()
        assert split.digests() == [image_digest(split.image(index).numpy()) for index in range(20)]

    @pytest.mark.parametrize("index", [-1, 20, 10**6])
    def test_an_index_out_of_range(self, index):
        with pytest.raises(IndexError, match=f"image {index} of 20"):
            array_split().image(index)


def test_labels_of_an_unlabeled_split_are_an_error():
    split = UnlabeledSplit(np.zeros((2, 3, 4, 4), np.uint8), "toys/unlabeled")
    with pytest.raises(DataError, match=r"no labels(?s:.)*train ddpm --dataset toys --split unlabeled --out runs/toys"):
        split.labels()


class TestDecodedSplit:
    @pytest.fixture
    def labels(self) -> np.ndarray:
        return np.arange(COUNT) % 3

    def test_digests_are_those_of_the_images(self, open_images, labels):
        split = DecodedSplit(open_images(), labels)
        assert split.digests() == [image_digest(split.image(index).numpy()) for index in range(COUNT)]

    def test_a_part_has_the_images_at_its_positions(self, open_images, labels):
        part = np.array([4, 100, 7])
        whole, split = DecodedSplit(open_images(), labels), DecodedSplit(open_images(), labels[part], part)
        assert len(split) == 3
        assert split.labels().tolist() == [1, 1, 1]
        assert [torch.equal(split.image(i), whole.image(int(j))) for i, j in enumerate(part)] == [True] * 3
        assert split.digests() == [whole.digests()[j] for j in part]

    def test_fingerprint_sees_image_label_order_and_rule(self, open_images, labels, folder):
        swap, other = np.arange(COUNT), labels.copy()
        swap[[3, 6]] = swap[[6, 3]]  # of one class
        other[9] = 2
        splits = [
            DecodedSplit(open_images(), labels),
            DecodedSplit(open_images(), labels, swap),
            DecodedSplit(open_images(), other),
            DecodedSplit(open_images(), labels[:-1], np.arange(COUNT - 1)),
            DecodedSplit(open_images(10), labels),
        ]
        prints = [split.fingerprint() for split in splits]
        (folder / "cats" / "000.png").write_bytes((folder / "cats" / "003.png").read_bytes())
        prints.append(DecodedSplit(open_images(), labels).fingerprint())
        assert len(set(prints)) == len(prints)
        assert all(len(bytes.fromhex(value)) == hashlib.sha256().digest_size for value in prints)

    def test_the_rule_counts_where_the_pixels_are_the_same(self, tmp_path, write_folders):
        """The images are 9x9 already: resizing changes nothing, and is still another dataset."""
        root = write_folders(tmp_path / "square", {"cats": 2}, size=(9, 9))
        files = sorted(str(path) for path in (root / "cats").iterdir())
        labels = np.zeros(2, np.int64)
        one, other = (DecodedSplit(DecodedImages(ImageFiles(files), Decoder(n), ""), labels) for n in (None, 9))
        assert one.digests() == other.digests()
        assert one.fingerprint() != other.fingerprint()
