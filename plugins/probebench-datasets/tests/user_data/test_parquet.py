"""Parquet files as the Hugging Face hub has them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probebench.api import DataError, ProbebenchWarning, UsageError
from probebench_datasets.options import ParquetOptions
from probebench_datasets.user_data.parquet import Parquet
from probebench_datasets.user_data.parquet_reader import ParquetPictures

if TYPE_CHECKING:
    import torch

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHARED = Path(os.environ.get("PROBEBENCH_SHARED", Path(__file__).parents[5] / "shared"))
CIFAR = SHARED / "data" / "cifar10-jpeg"


def build(path: Path, **options: object) -> Parquet:
    return Parquet(ParquetOptions(path=str(path), **options))


@pytest.fixture
def shards(tmp_path, encoded, write_parquet) -> Path:
    """Pictures 0 to 19 in two shards for training, 20 to 25 for testing; labels by turns."""
    folder = tmp_path / "pets"
    for name, numbers in (
        ("train-00000-of-00002", range(11)),
        ("train-00001-of-00002", range(11, 20)),
        ("test-00000-of-00001", range(20, 26)),
    ):
        write_parquet(folder / f"{name}.parquet", [encoded(n) for n in numbers], [n % 2 for n in numbers])
    return folder


def is_scene(image: torch.Tensor, number: int, scene) -> bool:
    return np.array_equal(image.numpy().transpose(1, 2, 0), scene(number, 32, 32))


def test_shards_in_their_order(shards, scene):
    dataset = build(shards)
    assert dataset.classes == ("cat", "dog")
    assert dataset.splits == ("train", "test")
    assert dataset.image_size == (32, 32)
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels().tolist() == [n % 2 for n in range(20)]
    assert test.labels().tolist() == [n % 2 for n in range(20, 26)]
    assert all(is_scene(train.image(n), n, scene) for n in range(20))
    assert all(is_scene(test.image(n), 20 + n, scene) for n in range(6))


def test_shards_in_the_folder_data(shards, tmp_path):
    (tmp_path / "repository").mkdir()
    shards.rename(tmp_path / "repository" / "data")
    assert len(build(tmp_path / "repository").split("train")) == 20


def test_a_picture_is_found_in_any_row_group(shards, encoded):
    pictures = ParquetPictures(sorted(shards.glob("train*")))
    assert [pictures.read(n) for n in range(20)] == [encoded(n) for n in range(20)]
    assert list(pictures.read_all()) == [encoded(n) for n in range(20)]


def test_image_and_fine_label(tmp_path, encoded, write_parquet):
    names = ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001")
    for name, numbers in zip(names, (range(4), range(4, 6), range(6, 8)), strict=True):
        data = [encoded(n) for n in numbers]
        write_parquet(tmp_path / f"{name}.parquet", data, [n % 2 for n in numbers], image="image", label="fine_label")
    dataset = build(tmp_path)
    assert dataset.splits == ("train", "val", "test")
    assert dataset.split("val").labels().tolist() == [0, 1]


def test_names_as_old_versions_wrote_them(tmp_path, encoded, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", [encoded(n) for n in range(10)], [n % 2 for n in range(10)])
    table = pq.read_table(path)
    text = '{"info": {"features": {"label": {"names": {"1": "one", "0": "zero"}}}}}'
    pq.write_table(table.replace_schema_metadata({"huggingface": text}), path)
    assert build(path).classes == ("zero", "one")


def test_without_names_classes_are_the_numbers(tmp_path, encoded, write_parquet):
    labels = [1, 5, 10] * 4
    path = write_parquet(tmp_path / "a.parquet", [encoded(n) for n in range(12)], labels, names=None)
    dataset = build(path)
    assert dataset.classes == ("1", "5", "10")
    assert sorted(dataset.split("train").labels().tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_of_a_single_file_a_part_is_set_aside_by_row(tmp_path, encoded, write_parquet, scene):
    path = write_parquet(tmp_path / "pets.parquet", [encoded(n) for n in range(20)], [n % 2 for n in range(20)])
    dataset = build(path)
    wanted = []
    for label in (0, 1):
        rows = sorted(range(label, 20, 2), key=lambda row: hashlib.sha256(f"test\x1f0\x1f{row}".encode()).digest())
        wanted += rows[:2]
    test, train = dataset.split("test"), dataset.split("train")
    assert [is_scene(test.image(i), row, scene) for i, row in enumerate(sorted(wanted))] == [True] * 4
    rest = [row for row in range(20) if row not in wanted]
    assert [is_scene(train.image(i), row, scene) for i, row in enumerate(rest)] == [True] * 16
    assert ParquetOptions(path=str(path)).name == "pets"


def test_validation_stands_for_a_test_split_that_is_missing(shards):
    (shards / "test-00000-of-00001.parquet").rename(shards / "validation-00000-of-00001.parquet")
    with pytest.warns(ProbebenchWarning, match="validation split stands for it"):
        dataset = build(shards)
    assert dataset.splits == ("train", "test")
    assert len(dataset.split("test")) == 6


def test_files_of_no_known_split_are_left_out_with_a_warning(shards):
    test = next(shards.glob("test*"))
    shutil.copy(test, shards / "unsupervised-00000-of-00001.parquet")
    shutil.copy(test, shards / "notes_v2.parquet")
    with pytest.warns(ProbebenchWarning, match=r"left out 2 files(?s:.)*notes_v2"):
        assert build(shards).splits == ("train", "test")


def test_one_split_under_two_names_is_refused(shards):
    for name in ("val.parquet", "validation.parquet"):
        shutil.copy(next(shards.glob("test*")), shards / name)
    with pytest.raises(DataError, match="val and validation are the same split"):
        build(shards)


def test_a_null_picture_is_named_with_its_row(shards, encoded, write_parquet):
    data = [encoded(n) for n in range(9)]
    write_parquet(shards / "train-00001-of-00002.parquet", [*data[:4], None, *data[5:]], [0] * 9)
    with pytest.raises(DataError, match=r"no picture in column 'img'(?s:.)*train-00001-of-00002\.parquet, row 4"):
        build(shards).split("train").fingerprint()


def test_a_damaged_picture_is_named_with_its_row(shards, encoded, write_parquet):
    data = [encoded(n) for n in range(9)]
    write_parquet(shards / "train-00001-of-00002.parquet", [*data[:8], data[8][:60]], [0] * 9)
    with pytest.raises(DataError, match=r"cannot be decoded(?s:.)*train-00001-of-00002\.parquet, row 8"):
        build(shards).split("train").fingerprint()


@pytest.mark.parametrize(("label", "found"), [(2, "label 2"), (-1, "label -1")])
def test_a_label_out_of_range_is_named_with_its_row(shards, encoded, write_parquet, label, found):
    labels = [0, 1, 0, label, 1, label]
    write_parquet(shards / "test-00000-of-00001.parquet", [encoded(n) for n in range(6)], labels)
    expected = rf"{found} has no name among the 2 classes \(2 such rows\)(?s:.)*test-00000-of-00001\.parquet, row 3"
    with pytest.raises(DataError, match=expected):
        build(shards)


def test_without_names_a_label_that_train_has_not_is_named(tmp_path, encoded, write_parquet):
    for split, labels in (("train", [3, 4, 3, 4]), ("test", [3, 7])):
        data = [encoded(n) for n in range(len(labels))]
        write_parquet(tmp_path / f"{split}-00000-of-00001.parquet", data, labels, names=None)
    with pytest.raises(DataError, match=r"label 7 has no image in train(?s:.)*test-00000-of-00001\.parquet, row 1"):
        build(tmp_path)


def test_a_class_that_train_has_not_is_named(shards, encoded, write_parquet):
    for number in range(2):
        count = 11 if number == 0 else 9
        data = [encoded(n) for n in range(count)]
        write_parquet(shards / f"train-0000{number}-of-00002.parquet", data, [0] * count)
    with pytest.raises(DataError, match=r"1 classes of test have no image in train, such as 'dog'"):
        build(shards)


def test_a_class_that_nobody_has_is_told(tmp_path, encoded, write_parquet):
    data, labels = [encoded(n) for n in range(10)], [n % 2 for n in range(10)]
    path = write_parquet(tmp_path / "a.parquet", data, labels, names=("cat", "dog", "fox"))
    with pytest.warns(ProbebenchWarning, match=r"1 of 3 classes have no image, such as 'fox'"):
        assert build(path).classes == ("cat", "dog", "fox")


def test_a_missing_label_is_named_with_its_row(shards, encoded, write_parquet):
    write_parquet(shards / "test-00000-of-00001.parquet", [encoded(n) for n in range(3)], [0, None, 1])
    with pytest.raises(DataError, match=r"no label(?s:.)*test-00000-of-00001\.parquet, row 1"):
        build(shards)


@pytest.mark.parametrize(
    ("change", "fault"),
    [({"image": "picture"}, "no column 'img' or 'image'"), ({"label": "kind"}, "no column 'label' or 'fine_label'")],
)
def test_a_missing_column_is_named(shards, encoded, write_parquet, change, fault):
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        write_parquet(shards / f"{name}.parquet", [encoded(0)], [0], **change)
    with pytest.raises(
        DataError, match=rf"{fault}(?s:.)*train-0000(?s:.)*rename one of its columns: {'|'.join(change.values())}|img"
    ):
        build(shards)


def test_pictures_that_are_no_structs(tmp_path, encoded):
    pq.write_table(pa.table({"img": [encoded(0)], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"'img' is binary, not a struct(?s:.)*a\.parquet(?s:.)*type Image"):
        build(tmp_path / "a.parquet")


def test_labels_that_are_no_numbers(tmp_path, encoded):
    column = [{"bytes": encoded(0), "path": None}]
    pq.write_table(pa.table({"img": column, "label": ["cat"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"'label' is string(?s:.)*a\.parquet(?s:.)*ClassLabel"):
        build(tmp_path / "a.parquet")


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_truncated_file_is_named(shards, keep):
    path = shards / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cannot be read(?s:.)*train-00001-of-00002\.parquet(?s:.)*again"):
        build(shards)


def outcome(folder: Path) -> str:
    """What a user gets to see: the fingerprint, or what is wrong."""
    try:
        return build(folder).split("test").fingerprint()
    except DataError as error:
        return str(error)


def test_one_flipped_byte_is_reported(shards):
    """As damage that names the file: of a PNG in it, or of the file itself."""
    path = shards / "test-00000-of-00001.parquet"
    sound = path.read_bytes()
    before = outcome(shards)
    start = sound.index(b"IDAT") + 4
    for position in [*range(start, start + 400, 23), -1, -3, len(sound) - 8]:
        damaged = bytearray(sound)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        assert path.name in outcome(shards)
    path.write_bytes(sound)
    assert outcome(shards) == before


def test_a_shard_that_is_missing(shards):
    (shards / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"shards \[1\] of 2(?s:.)*train-00001-of-00002"):
        build(shards)


def test_shards_of_two_versions(shards, encoded, write_parquet):
    write_parquet(shards / "train-00000-of-00001.parquet", [encoded(0)], [0])
    with pytest.raises(DataError, match=r"not each of them once(?s:.)*another version"):
        build(shards)


def test_names_that_differ(shards, encoded, write_parquet):
    write_parquet(shards / "test-00000-of-00001.parquet", [encoded(0)], [0], names=("dog", "cat"))
    with pytest.raises(DataError, match=r"different class names(?s:.)*written together"):
        build(shards)


def test_a_folder_without_train(tmp_path):
    (tmp_path / "readme.md").write_text("")
    with pytest.raises(DataError, match=r"no train-\*\.parquet(?s:.)*path=FILE"):
        build(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match=r"there is nothing(?s:.)*nowhere"):
        build(tmp_path / "nowhere")


def test_no_path():
    with pytest.raises(UsageError, match="parquet:path=FOLDER"):
        Parquet(ParquetOptions())


def test_a_seed_without_use_is_refused(shards):
    with pytest.raises(UsageError, match="own test split"):
        build(shards, seed=1)


@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs PROBEBENCH_SHARED=folder with data/cifar10-jpeg")
def test_real_cifar10():
    """Sizes, classes and balance of the whole set; nothing is decoded but one picture."""
    dataset = build(CIFAR)
    assert ParquetOptions(path=str(CIFAR)).name == "cifar10-jpeg"
    assert dataset.classes == CIFAR_CLASSES
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels().bincount().tolist() == [5000] * 10
    assert test.labels().bincount().tolist() == [1000] * 10
    assert dataset.image_size == (32, 32)
