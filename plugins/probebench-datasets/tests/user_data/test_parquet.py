"""Parquet files in the layout of the Hugging Face hub."""

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
from probebench_datasets.user_data.parquet_reader import ParquetImages

if TYPE_CHECKING:
    import torch

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHARED = Path(os.environ.get("PROBEBENCH_SHARED", Path(__file__).parents[5] / "shared"))
CIFAR = SHARED / "data" / "cifar10-jpeg"


def build(path: Path, **options: object) -> Parquet:
    return Parquet(ParquetOptions(path=str(path), **options))


@pytest.fixture
def shards(tmp_path, encoded, write_parquet) -> Path:
    """Returns a folder with images 0 to 19 in two train shards, 20 to 25 in test, and alternating labels."""
    folder = tmp_path / "pets"
    for name, numbers in (
        ("train-00000-of-00002", range(11)),
        ("train-00001-of-00002", range(11, 20)),
        ("test-00000-of-00001", range(20, 26)),
    ):
        write_parquet(folder / f"{name}.parquet", [encoded(n) for n in numbers], [n % 2 for n in numbers])
    return folder


def is_number(image: torch.Tensor, number: int, smooth_image) -> bool:
    return np.array_equal(image.numpy().transpose(1, 2, 0), smooth_image(number, 32, 32))


def test_shards_in_their_order(shards, smooth_image):
    dataset = build(shards)
    assert dataset.classes == ("cat", "dog")
    assert dataset.splits == ("train", "test")
    assert dataset.image_size == (32, 32)
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels().tolist() == [n % 2 for n in range(20)]
    assert test.labels().tolist() == [n % 2 for n in range(20, 26)]
    assert all(is_number(train.image(n), n, smooth_image) for n in range(20))
    assert all(is_number(test.image(n), 20 + n, smooth_image) for n in range(6))


def test_shards_in_the_folder_data(shards, tmp_path):
    (tmp_path / "repository").mkdir()
    shards.rename(tmp_path / "repository" / "data")
    assert len(build(tmp_path / "repository").split("train")) == 20


def test_an_image_is_read_from_any_row_group(shards, encoded):
    images = ParquetImages(sorted(shards.glob("train*")))
    assert [images.read(n) for n in range(20)] == [encoded(n) for n in range(20)]
    assert list(images.read_all()) == [encoded(n) for n in range(20)]


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


def test_of_a_single_file_a_test_split_is_held_out_by_row(tmp_path, encoded, write_parquet, smooth_image):
    path = write_parquet(tmp_path / "pets.parquet", [encoded(n) for n in range(20)], [n % 2 for n in range(20)])
    dataset = build(path)
    test_rows = []
    for label in (0, 1):
        rows = sorted(range(label, 20, 2), key=lambda row: hashlib.sha256(f"test\x1f0\x1f{row}".encode()).digest())
        test_rows += rows[:2]
    test, train = dataset.split("test"), dataset.split("train")
    assert [is_number(test.image(i), row, smooth_image) for i, row in enumerate(sorted(test_rows))] == [True] * 4
    train_rows = [row for row in range(20) if row not in test_rows]
    assert [is_number(train.image(i), row, smooth_image) for i, row in enumerate(train_rows)] == [True] * 16
    assert ParquetOptions(path=str(path)).name == "pets"


def test_without_a_test_split_validation_is_used_as_test(shards):
    (shards / "test-00000-of-00001.parquet").rename(shards / "validation-00000-of-00001.parquet")
    with pytest.warns(ProbebenchWarning, match="validation split is used as test"):
        dataset = build(shards)
    assert dataset.splits == ("train", "test")
    assert len(dataset.split("test")) == 6


def test_files_of_other_splits_are_ignored_with_a_warning(shards):
    test = next(shards.glob("test*"))
    shutil.copy(test, shards / "unsupervised-00000-of-00001.parquet")
    shutil.copy(test, shards / "notes_v2.parquet")
    with pytest.warns(ProbebenchWarning, match=r"ignored 2 files(?s:.)*notes_v2"):
        assert build(shards).splits == ("train", "test")


def test_one_split_under_two_names_is_refused(shards):
    for name in ("val.parquet", "validation.parquet"):
        shutil.copy(next(shards.glob("test*")), shards / name)
    with pytest.raises(DataError, match="val and validation are the same split"):
        build(shards)


def test_a_null_image_is_named_with_its_row(shards, encoded, write_parquet):
    data = [encoded(n) for n in range(9)]
    write_parquet(shards / "train-00001-of-00002.parquet", [*data[:4], None, *data[5:]], [0] * 9)
    with pytest.raises(DataError, match=r"column 'img' has no image(?s:.)*train-00001-of-00002\.parquet, row 4"):
        build(shards).split("train").fingerprint()


def test_a_damaged_image_is_named_with_its_row(shards, encoded, write_parquet):
    data = [encoded(n) for n in range(9)]
    write_parquet(shards / "train-00001-of-00002.parquet", [*data[:8], data[8][:60]], [0] * 9)
    with pytest.raises(DataError, match=r"cannot be decoded(?s:.)*train-00001-of-00002\.parquet, row 8"):
        build(shards).split("train").fingerprint()


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_out_of_range_is_named_with_its_row(shards, encoded, write_parquet, label):
    labels = [0, 1, 0, label, 1, label]
    write_parquet(shards / "test-00000-of-00001.parquet", [encoded(n) for n in range(6)], labels)
    expected = (
        rf"label {label} has no name among the 2 classes \(2 such rows\)(?s:.)*test-00000-of-00001\.parquet, row 3"
    )
    with pytest.raises(DataError, match=expected):
        build(shards)


def test_without_names_a_label_without_train_images_is_named(tmp_path, encoded, write_parquet):
    for split, labels in (("train", [3, 4, 3, 4]), ("test", [3, 7])):
        data = [encoded(n) for n in range(len(labels))]
        write_parquet(tmp_path / f"{split}-00000-of-00001.parquet", data, labels, names=None)
    with pytest.raises(DataError, match=r"label 7 has no image in train(?s:.)*test-00000-of-00001\.parquet, row 1"):
        build(tmp_path)


def test_a_class_without_train_images_is_named(shards, encoded, write_parquet):
    for number in range(2):
        count = 11 if number == 0 else 9
        data = [encoded(n) for n in range(count)]
        write_parquet(shards / f"train-0000{number}-of-00002.parquet", data, [0] * count)
    with pytest.raises(DataError, match=r"classes of test without an image in train: 1, such as 'dog'"):
        build(shards)


def test_a_class_without_images_is_reported(tmp_path, encoded, write_parquet):
    data, labels = [encoded(n) for n in range(10)], [n % 2 for n in range(10)]
    path = write_parquet(tmp_path / "a.parquet", data, labels, names=("cat", "dog", "fox"))
    with pytest.warns(ProbebenchWarning, match=r"without any image: 1 of 3, such as 'fox'"):
        assert build(path).classes == ("cat", "dog", "fox")


def test_a_missing_label_is_named_with_its_row(shards, encoded, write_parquet):
    write_parquet(shards / "test-00000-of-00001.parquet", [encoded(n) for n in range(3)], [0, None, 1])
    with pytest.raises(DataError, match=r"no label(?s:.)*test-00000-of-00001\.parquet, row 1"):
        build(shards)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"image": "picture"}, "no column 'img' or 'image'"), ({"label": "kind"}, "no column 'label' or 'fine_label'")],
)
def test_a_missing_column_is_named(shards, encoded, write_parquet, change, message):
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        write_parquet(shards / f"{name}.parquet", [encoded(0)], [0], **change)
    (renamed,) = change.values()
    expected = rf"{message}(?s:.)*train-0000(?s:.)*rename one of the columns of the file: .*{renamed}"
    with pytest.raises(DataError, match=expected):
        build(shards)


def test_images_that_are_not_structs(tmp_path, encoded):
    pq.write_table(pa.table({"img": [encoded(0)], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"'img' has the type binary, not a struct(?s:.)*a\.parquet(?s:.)*type Image"):
        build(tmp_path / "a.parquet")


def test_labels_that_are_not_numbers(tmp_path, encoded):
    column = [{"bytes": encoded(0), "path": None}]
    pq.write_table(pa.table({"img": column, "label": ["cat"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"'label' has the type string(?s:.)*a\.parquet(?s:.)*ClassLabel"):
        build(tmp_path / "a.parquet")


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_truncated_file_is_named(shards, keep):
    path = shards / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"cannot be read(?s:.)*train-00001-of-00002\.parquet(?s:.)*again"):
        build(shards)


def outcome(folder: Path) -> str:
    """Returns the fingerprint, or the error."""
    try:
        return build(folder).split("test").fingerprint()
    except DataError as error:
        return str(error)


def test_one_flipped_byte_is_reported(shards):
    """The damage may be in a PNG in the file, or in the file itself; the error names the file."""
    path = shards / "test-00000-of-00001.parquet"
    original = path.read_bytes()
    before = outcome(shards)
    start = original.index(b"IDAT") + 4
    for position in [*range(start, start + 400, 23), -1, -3, len(original) - 8]:
        damaged = bytearray(original)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        assert path.name in outcome(shards)
    path.write_bytes(original)
    assert outcome(shards) == before


def test_a_missing_shard(shards):
    (shards / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"shards \[1\], not each of its 2 shards once(?s:.)*train-00001-of-00002"):
        build(shards)


def test_shards_of_two_versions(shards, encoded, write_parquet):
    write_parquet(shards / "train-00000-of-00001.parquet", [encoded(0)], [0])
    with pytest.raises(DataError, match=r"not each of its 2 shards once(?s:.)*another version"):
        build(shards)


def test_different_class_names(shards, encoded, write_parquet):
    write_parquet(shards / "test-00000-of-00001.parquet", [encoded(0)], [0], names=("dog", "cat"))
    with pytest.raises(DataError, match=r"different class names(?s:.)*written together"):
        build(shards)


def test_a_folder_without_train(tmp_path):
    (tmp_path / "readme.md").write_text("")
    with pytest.raises(DataError, match=r"no file train-\*\.parquet(?s:.)*set path to a single file"):
        build(tmp_path)


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(DataError, match=r"path does not exist(?s:.)*nowhere"):
        build(tmp_path / "nowhere")


def test_no_path():
    with pytest.raises(UsageError, match="parquet:path=FOLDER"):
        Parquet(ParquetOptions())


def test_a_seed_without_effect_is_refused(shards):
    with pytest.raises(UsageError, match="own test split"):
        build(shards, seed=1)


@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs PROBEBENCH_SHARED=folder with data/cifar10-jpeg")
def test_real_cifar10():
    """Checks size, classes and balance of the whole set; only one image is decoded."""
    dataset = build(CIFAR)
    assert ParquetOptions(path=str(CIFAR)).name == "cifar10-jpeg"
    assert dataset.classes == CIFAR_CLASSES
    train, test = dataset.split("train"), dataset.split("test")
    assert train.labels().bincount().tolist() == [5000] * 10
    assert test.labels().bincount().tolist() == [1000] * 10
    assert dataset.image_size == (32, 32)
