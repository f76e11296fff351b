"""Datasets: shared images and empty classes are found, files are downloaded, and images are shown."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch
from PIL import Image

from probebench.api import DataError, Dataset, DatasetSpec, Split
from probebench.extraction.data_checks import shared_images
from probebench.extraction.dataset import open_images
from probebench.plugins.downloads import fetch
from probebench.plugins.registry import resolve
from probebench.records import files
from probebench.testing.fakes import ToyBackbone, ToyDataset


class Listed(Split):
    """A split of these images and labels."""

    def __init__(self, images, labels, digests=None):
        self.images, self.given, self.sums = images, labels, digests

    def __len__(self):
        return len(self.images)

    def image(self, index):
        return self.images[index].clone()

    def labels(self):
        return torch.tensor(self.given)

    def fingerprint(self):
        return hashlib.sha256(torch.stack(self.images).numpy().tobytes() + str(self.given).encode()).hexdigest()

    def digests(self):
        if self.sums is not None:
            return self.sums
        return [hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in self.images]


def grey(value):
    return torch.full((3, 8, 8), value, dtype=torch.uint8)


class Made(Dataset):
    """Three classes; the test sets the content of the splits."""

    classes = ("dark", "medium", "light")
    image_size = (8, 8)
    content: dict[str, tuple[list[int], list[int]]]

    def __init__(self, options):
        self.splits = tuple(self.content)

    def split(self, name):
        values, labels = self.content[name]
        return Listed([grey(value) for value in values], labels)


@pytest.fixture
def made(lab):
    """A function that adds a dataset of grey values and labels, and returns its component."""

    def add(**content):
        lab.dataset("made", type("MadeHere", (Made,), {"content": content}))
        return resolve("dataset", "made")

    return add


SOUND = {"train": ([1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 2, 2]), "test": ([7, 8, 9], [0, 1, 2])}


def test_a_sound_dataset_gives_no_warning(made):
    assert open_images(made(**SOUND)).description.warnings == ()


def test_images_in_two_splits_are_counted_by_pair(made):
    component = made(
        train=([1, 2, 3, 4, 4, 6], [0, 0, 1, 1, 2, 2]), val=([2, 10, 11], [0, 1, 2]), test=([4, 2, 4, 12], [0, 1, 2, 2])
    )
    found = open_images(component).description.warnings
    assert [line.partition(". ")[0] for line in found] == [
        "1 image of val is also in train: val 0 is train 1",
        "3 images of test are also in train: test 0 is train 3",
        "1 image of test is also in val: test 1 is val 0",
    ]


def test_pairs_equal_those_of_a_brute_force_search():
    generator = torch.Generator().manual_seed(0)
    values = {name: torch.randint(0, 40, (30,), generator=generator).tolist() for name in ("train", "val", "test")}
    splits = {name: Listed([grey(value) for value in given], [0] * 30) for name, given in values.items()}
    found = {(one.first, one.second): {there for _, there in one.pairs} for one in shared_images(splits)}
    assert found == {
        (first, second): {place for place, value in enumerate(values[second]) if value in values[first]}
        for first, second in (("train", "val"), ("train", "test"), ("val", "test"))
    }
    for one in shared_images(splits):
        assert all(values[one.first][here] == values[one.second][there] for here, there in one.pairs)


def test_a_dataset_without_digests_is_not_compared(made, monkeypatch):
    component = made(train=([1, 2, 3], [0, 1, 2]), test=([1, 2, 3], [0, 1, 2]))
    monkeypatch.setattr(Listed, "digests", Split.digests)
    assert open_images(component).description.warnings == ()


@pytest.mark.parametrize("digests", [[b"x" * 16], [b"short"] * 3])
def test_digests_of_a_wrong_number_or_length_are_refused(digests):
    from probebench.api import PluginError

    splits = {"train": Listed([grey(1), grey(2), grey(3)], [0, 1, 2], digests)}
    with pytest.raises(PluginError, match=r"digests of train are not 16 bytes for each of 3 images\n.*Listed\.digests"):
        shared_images(splits)


def test_classes_without_train_images_are_named(made):
    component = made(train=([1, 2], [1, 1]), test=SOUND["test"])
    assert open_images(component).description.warnings == (
        "2 classes have no image in train and cannot be learnt: dark, light",
    )


@pytest.mark.parametrize(("labels", "span"), [([0, 1, -1], "from -1 to 1"), ([0, 1, 3], "from 0 to 3")])
def test_labels_out_of_range_are_an_error(made, labels, span):
    with pytest.raises(DataError, match=rf"labels range {span}, and there are 3 classes\n.*dataset made/train"):
        open_images(made(train=([1, 2, 3], labels), test=SOUND["test"]))


def test_warnings_of_a_dataset_are_recorded(lab, made):
    made(train=([1, 2, 3, 4, 90, 91], [0, 0, 1, 1, 0, 1]), test=([7, 4, 9], [0, 1, 0]))
    record = lab.record(dataset=("made",), baselines=False)
    assert record.status == "success"
    shown = "1 image of test is also in train: test 1 is train 3"
    assert [line.partition(". ")[0] for line in record.warnings] == [
        "1 class has no image in train and cannot be learnt: light",
        shown,
    ]
    (path,) = (lab.folder / "results").rglob("means-seed0-????????.json")
    assert shown in " ".join(files.read_record(path).warnings)


@pytest.fixture
def fetched(lab, monkeypatch):
    """Datasets `far`, which can be downloaded, and `near`; the list of downloads."""
    done = []

    def download(options, progress):
        progress("far.tar", 0, 0)
        progress("far.tar", 10, 30)
        progress("far.tar", 30, 30)
        progress("labels.bin", 5, 5)
        done.append(type(options).__name__)

    class Far(ToyDataset):
        def split(self, name):
            if not done:
                raise DataError("far is not downloaded", hint="probebench data download far")
            return super().split(name)

    lab.module.download = download
    lab.dataset("far", Far, fetch=f"{lab.module.__name__}:download")
    lab.dataset("near", ToyDataset)
    monkeypatch.chdir(lab.folder)
    return done


def test_download_calls_the_function_of_the_dataset(fetched, cli):
    answer = cli("data", "download", "far")
    assert (answer.code, answer.out) == (0, "far is complete, and all checksums are correct\n")
    assert fetched == ["NoOptions"]


def test_a_dataset_that_needs_no_download(fetched, cli):
    answer = cli("data", "download", "near")
    assert answer.code == 2
    assert answer.err == "error: there is nothing to download for near\n  try: one of far\n"


def test_progress_of_every_file_is_shown(fetched, lab, monkeypatch):
    shown = []

    class Bar:
        def set_completed(self, done, note=""):
            shown[-1][2].append(round(done * 1e6))

    class Context:
        def __init__(self, description, total=None):
            shown.append([description, total, []])

        def __enter__(self):
            return Bar()

        def __exit__(self, *_):
            shown[-1].append("closed")

    monkeypatch.setattr("probebench.plugins.downloads.bar", Context)
    fetch(resolve("dataset", "far"))
    assert shown == [["far.tar, MB", None, [0, 10, 30], "closed"], ["labels.bin, MB", 5e-6, [5], "closed"]]


def test_a_download_that_fails_is_an_error_of_the_plugin(fetched, lab, cli):
    lab.module.download = lambda options, progress: 1 / 0
    answer = cli("data", "download", "far")
    assert answer.code == 3
    assert "far cannot be downloaded: ZeroDivisionError" in answer.err


def test_run_downloads_datasets_only_on_request(fetched, probebench):
    without = probebench("--dataset", "far", "--no-baselines")
    assert without.code == 1
    assert "try: probebench data download far" in without.err
    assert fetched == []
    with_download = probebench("--dataset", "far", "--dataset", "near", "--no-baselines", "--download")
    assert with_download.code == 0
    assert fetched == ["NoOptions"]


def test_run_downloads_weights_only_on_request(fetched, lab, probebench):
    lab.backbone("far-net", ToyBackbone, fetch=f"{lab.module.__name__}:download")
    probebench("--dataset", "near", "--backbone", "far-net", "--no-baselines")
    assert fetched == []
    with_download = probebench("--dataset", "near", "--backbone", "far-net", "--no-baselines", "--download")
    assert with_download.code == 0
    assert len(fetched) == 1


def test_a_dry_run_downloads_nothing(fetched, probebench):
    probebench("--dataset", "far", "--download", "--dry-run")
    assert fetched == []


@pytest.fixture
def show(made, lab, cli, monkeypatch):
    """Shows the dataset of a test."""

    def run(*arguments, **content):
        made(**content)
        monkeypatch.chdir(lab.folder)
        return cli("data", "show", "made", *arguments)

    return run


def test_show_prints_counts_fingerprints_and_warnings(show, lab):
    answer = show(train=([1, 2, 3, 4], [0, 0, 0, 1]), test=([1, 8], [0, 2]))
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0] == "made: 3 classes, images of 8x8 pixels"
    counts = [line.split() for line in lines[2:7]]
    table = ["class train test", "dark 3 1", "medium 1 0", "light 0 1", "total 4 2"]
    assert counts == [line.split() for line in table]
    expected = Listed([grey(value) for value in (1, 2, 3, 4)], [0, 0, 0, 1]).fingerprint()
    assert ["train", expected] in [line.split() for line in lines]
    assert "warning: 1 class has no image in train and cannot be learnt: light" in lines
    assert any(line.startswith("warning: 1 image of test is also in train: test 0 is train 0.") for line in lines)
    assert lines[-1] == "contact sheet: made-sheet.png"


def test_show_as_json(show, lab):
    document = show("--json", "--no-sheet", **SOUND).json
    assert document["splits"]["train"]["per_class"] == [2, 2, 2]
    assert document["splits"]["test"]["images"] == 3
    assert document["sheet"] is None
    assert not list(lab.folder.glob("*.png"))


def test_the_sheet_shows_the_images_of_each_class(show, lab):
    """Rows of the sheet are classes, and each image is enlarged to 48 pixels."""
    train = ([10, 20, 110, 200, 210, 220], [0, 0, 1, 2, 2, 2])
    assert show("--out", "of/mine.png", train=train, test=SOUND["test"]).code == 0
    with Image.open(lab.folder / "of" / "mine.png") as sheet:
        assert sheet.format == "PNG"
        first_column, step = 154 + 24, 52
        seen = [
            [sheet.getpixel((first_column + step * place, 28 + step * row)) for place in range(4)] for row in range(3)
        ]
    values = [[10, 20, 255, 255], [110, 255, 255, 255], [200, 210, 220, 255]]
    assert seen == [[(value,) * 3 for value in row] for row in values]


def test_a_sheet_that_cannot_be_written(show, lab):
    (lab.folder / "file").write_text("in the way")
    answer = show("--out", "file/sheet.png", **SOUND)
    assert answer.code == 2
    assert "the image cannot be written" in answer.err
    assert "try: use another path for --out" in answer.err


def test_a_sheet_of_many_classes_stays_low_and_long_names_are_cut(lab):
    from probebench.board.figures.contact_sheet import contact_sheet

    names = tuple(f"a class with a rather long name, number {number}" for number in range(100))
    split = Listed([torch.full((3, 300, 200), number, dtype=torch.uint8) for number in range(100)], list(range(100)))
    sheet = contact_sheet(split, split.labels(), names)
    assert sheet.height < 3500
    assert sheet.getpixel((154 + 10, 4 + 10)) == (0, 0, 0)
    assert sheet.getpixel((149, 52)) == (255, 255, 255), "a name runs into the images"


def test_a_sheet_writes_accented_names_in_letters_that_its_font_has():
    from PIL import ImageChops

    from probebench.board.figures.contact_sheet import contact_sheet

    split = Listed([torch.zeros(3, 8, 8, dtype=torch.uint8)], [0])
    accented, plain = (contact_sheet(split, split.labels(), (name,)) for name in ("\u00d6sterreich", "Osterreich"))
    assert ImageChops.difference(accented, plain).getbbox() is None


def test_fetch_is_checked_in_the_spec():
    with pytest.raises(ValueError, match=r"fetch 'nonsense' of far is not of the form 'package\.module:function'"):
        DatasetSpec(name="far", factory="a:b", summary="far", fetch="nonsense")


def test_data_help_imports_nothing_heavy():
    code = "import sys; from probebench.cli import main\ntry: main(['data', '--help'])\nexcept SystemExit: pass\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print(sorted({'torch', 'PIL', 'numpy'} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
