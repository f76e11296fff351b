"""Options: their limits, the names they give to datasets, and what they leave out of keys and records."""

from __future__ import annotations

import subprocess
import sys

import pytest

from probebench_datasets.options import (
    CifarOptions,
    FashionMNISTOptions,
    Flowers102Options,
    ImageFolderOptions,
    ParquetOptions,
    PixelsOptions,
    ScatteredDigitsOptions,
    STL10Options,
    SVHNOptions,
)


@pytest.mark.parametrize(
    "options", [{"train": 9}, {"test": 0}, {"train": 100_001}, {"val": 10}, {"image_size": 7}], ids=str
)
def test_sizes_out_of_range(options):
    with pytest.raises(ValueError, match=r"greater than or equal to \d+|less than or equal to 100000|Extra inputs"):
        ScatteredDigitsOptions(**options)


def test_the_default_size_is_left_out_of_records():
    assert "image_size" in ScatteredDigitsOptions().excluded_fields()
    assert "image_size" not in ScatteredDigitsOptions(image_size=32).excluded_fields()


@pytest.mark.parametrize("fold", [-1, 10, "first"])
def test_a_fold_that_does_not_exist(fold):
    with pytest.raises(ValueError, match="fold"):
        STL10Options(fold=fold)


@pytest.mark.parametrize("grid", [0, -1, "half", 2.5])
def test_a_grid_that_is_not_valid(grid):
    with pytest.raises(ValueError, match=r"grid"):
        PixelsOptions(grid=grid)


@pytest.mark.parametrize("model", [CifarOptions, STL10Options, FashionMNISTOptions, SVHNOptions, Flowers102Options])
def test_the_data_root_is_left_out_of_records(model):
    assert "root" in model(root="somewhere").excluded_fields()


@pytest.mark.parametrize("model", [ImageFolderOptions, ParquetOptions])
def test_the_path_is_left_out_of_records(model):
    assert "path" in model(path="somewhere/birds").excluded_fields()


@pytest.mark.parametrize(
    ("folder", "name"), [("Ünï Vögel", "uni-vogel"), ("my_birds.v2", "my-birds-v2"), ("猫cat", "cat")]
)
def test_the_name_is_that_of_the_folder_in_plain_letters(folder, name):
    assert ImageFolderOptions(path=f"somewhere/{folder}/").name == name


@pytest.mark.parametrize(
    ("path", "name"),
    [("/data/My Birds_v2", "my-birds-v2"), ("/data/x/../birds/", "birds"), ("shards/Train.parquet", "train")],
)
def test_the_name_is_the_last_part_of_the_path(path, name):
    assert ImageFolderOptions(path=path).name == name


def test_a_folder_whose_name_has_no_plain_letter_needs_a_name():
    with pytest.raises(ValueError, match="add name="):
        ImageFolderOptions(path="somewhere/猫")
    assert ImageFolderOptions(path="somewhere/猫", name="cats").name == "cats"


def test_a_name_may_be_chosen():
    assert ImageFolderOptions(path="/data/x", name="birds").name == "birds"


def test_a_name_is_lower_case_words():
    with pytest.raises(ValueError, match="lower-case words"):
        ImageFolderOptions(path="/data/x", name="My Birds")


def test_the_plugin_is_light():
    """Every command imports it, so it imports neither torch nor NumPy."""
    code = "import sys, probebench_datasets; print([name for name in ('numpy', 'PIL', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
