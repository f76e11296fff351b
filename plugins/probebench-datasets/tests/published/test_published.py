"""The downloadable datasets, on tiny files in the exact formats, compared with torchvision's reading of them."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
import tarfile
import threading
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from probebench.api import DataError, UsageError
from probebench.testing import parametrize_with_checks
from probebench_datasets.downloads import checksums
from probebench_datasets.paths import cache_root, data_root
from probebench_datasets.published.cifar import (
    CIFAR10_BINARY,
    CIFAR10_PYTHON,
    CIFAR100_BINARY,
    CIFAR100_PYTHON,
    Cifar10,
    Cifar100,
)
from probebench_datasets.published.fashion_mnist import FASHION_MNIST, FashionMNIST
from probebench_datasets.published.stl10 import STL10, STL10_BINARY
from probebench_datasets.published.svhn import SVHN, SVHN_FOLDER, SVHN_ROOT
from probebench_datasets.published_options import CifarOptions, FashionMNISTOptions, STL10Options, SVHNOptions

# --- fixtures in the exact formats -------------------------------------------------------------------------------


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels_for(count: int, classes: int) -> np.ndarray:
    """Every class, in an order that is not datasets."""
    return (np.arange(count) * 7 + 3) % classes


class Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, which is what the official batches hold."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012 - as in the base class

    def save_string(self, text):
        data = text if isinstance(text, bytes) else text.encode("latin1")
        head = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_string


def write_batch(path: Path, batch: object) -> None:
    with path.open("wb") as file:
        Python2Pickler(file, 2).dump(batch)


def cifar_python(folder: Path, name: str, key: str, images: np.ndarray, labels: np.ndarray) -> None:
    flat = images.reshape(len(images), -1)
    names = [f"picture_{index}.png" for index in range(len(images))]
    write_batch(folder / name, {"batch_label": name, key: labels.tolist(), "data": flat, "filenames": names})


def cifar_binary(folder: Path, name: str, heads: list[np.ndarray], images: np.ndarray) -> None:
    columns = [head.astype(np.uint8)[:, None] for head in heads]
    (folder / name).write_bytes(np.hstack([*columns, images.reshape(len(images), -1)]).tobytes())


def make_cifar10_python(folder: Path) -> None:
    for number in range(1, 6):
        cifar_python(folder, f"data_batch_{number}", "labels", noise(number, 10, 3, 32, 32), labels_for(10, 10))
    cifar_python(folder, "test_batch", "labels", noise(6, 10, 3, 32, 32), labels_for(10, 10))
    write_batch(folder / "batches.meta", {"label_names": list(Cifar10.classes)})


def make_cifar10_binary(folder: Path) -> None:
    for number in range(1, 6):
        cifar_binary(folder, f"data_batch_{number}.bin", [labels_for(10, 10)], noise(number, 10, 3, 32, 32))
    cifar_binary(folder, "test_batch.bin", [labels_for(10, 10)], noise(6, 10, 3, 32, 32))


def make_cifar100_python(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 200, "test": 100}.items()):
        fine, images = labels_for(count, 100), noise(seed, count, 3, 32, 32)
        batch = {"coarse_labels": (fine // 5).tolist(), "fine_labels": fine.tolist(), "batch_label": name}
        write_batch(folder / name, batch | {"data": images.reshape(count, -1)})
    write_batch(folder / "meta", {"fine_label_names": list(Cifar100.classes)})


def make_cifar100_binary(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 200, "test": 100}.items()):
        fine = labels_for(count, 100)
        cifar_binary(folder, f"{name}.bin", [fine // 5, fine], noise(seed, count, 3, 32, 32))


def make_stl10(folder: Path) -> None:
    """Column by column: what is written is the transposed image."""
    for seed, (name, count) in enumerate({"train": 40, "test": 20, "unlabeled": 12}.items()):
        (folder / f"{name}_X.bin").write_bytes(noise(seed, count, 3, 96, 96).transpose(0, 1, 3, 2).tobytes())
        if name != "unlabeled":
            (folder / f"{name}_y.bin").write_bytes((labels_for(count, 10) + 1).astype(np.uint8).tobytes())
    order = np.random.default_rng(9).permuted(np.tile(np.arange(40), (10, 1)), axis=1)[:, :30]
    (folder / "fold_indices.txt").write_text("".join(" ".join(map(str, line)) + " \n" for line in order.tolist()))
    (folder / "class_names.txt").write_text("\n".join(STL10.classes))


def make_fashion(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 30, "t10k": 20}.items()):
        images = struct.pack(">4I", 0x803, count, 28, 28) + noise(seed, count, 28, 28).tobytes()
        labels = struct.pack(">2I", 0x801, count) + labels_for(count, 10).astype(np.uint8).tobytes()
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{name}-{kind}-ubyte").write_bytes(content)
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, mtime=0))


def make_svhn(folder: Path) -> None:
    for seed, (name, count) in enumerate({"train": 30, "test": 20}.items()):
        images, labels = noise(seed, count, 3, 32, 32), labels_for(count, 10)
        content = {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)}
        savemat(folder / f"{name}_32x32.mat", content, do_compression=True)


@dataclass(frozen=True)
class Made:
    """A dataset on tiny files: its class knows the checksums of these."""

    kind: type
    form: object
    root: Path

    def build(self, **options):
        model = {Cifar10: CifarOptions, Cifar100: CifarOptions, STL10: STL10Options, SVHN: SVHNOptions}
        base = self.kind.__mro__[1]
        return self.kind(model.get(base, FashionMNISTOptions)(root=str(self.root), **options))

    @property
    def folder(self) -> Path:
        return self.root / self.form.folder


MAKERS = {
    "cifar10-python": (Cifar10, CIFAR10_PYTHON, make_cifar10_python),
    "cifar10-binary": (Cifar10, CIFAR10_BINARY, make_cifar10_binary),
    "cifar100-python": (Cifar100, CIFAR100_PYTHON, make_cifar100_python),
    "cifar100-binary": (Cifar100, CIFAR100_BINARY, make_cifar100_binary),
    "stl10": (STL10, STL10_BINARY, make_stl10),
    "fashion-mnist": (FashionMNIST, FASHION_MNIST, make_fashion),
    "svhn": (SVHN, SVHN_FOLDER, make_svhn),
    "svhn-torchvision": (SVHN, SVHN_ROOT, make_svhn),
}


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def with_sums_of(form, folder: Path):
    """The same form, with the checksums of the files in a folder."""
    parts = {part: {name: md5(folder / name) for name in files} for part, files in form.parts.items()}
    return replace(form, parts=parts)


def make(which: str, root: Path) -> Made:
    base, form, maker = MAKERS[which]
    folder = root / form.folder
    folder.mkdir(parents=True, exist_ok=True)
    maker(folder)
    form = with_sums_of(form, folder)
    return Made(type(f"Small{base.__name__}", (base,), {"forms": (form,)}), form, root)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PROBEBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(params=MAKERS)
def made(request, tmp_path) -> Made:
    return make(request.param, tmp_path / "root")


# --- the laws of a dataset ---------------------------------------------------------------------------------------

_WHERE: dict[str, Path] = {}


@pytest.fixture(scope="module", autouse=True)
def _small_files(tmp_path_factory):
    """One copy of the files for all conformance checks."""
    _WHERE["root"] = tmp_path_factory.mktemp("published")
    yield
    _WHERE.clear()


def conforming(which: str, **options):
    def build():
        root = _WHERE["root"] / which
        if not root.exists():
            _WHERE[which] = make(which, root)
        return _WHERE[which].build(**options)

    build.__name__ = "-".join([which, *(f"{name}={value}" for name, value in options.items())])
    return ("dataset", build)


@parametrize_with_checks(
    [
        *map(conforming, MAKERS),
        conforming("stl10", fold=3),
        conforming("stl10", image_size=32),
        conforming("fashion-mnist", image_size=32),
    ]
)
def test_conformance(subject, check):
    check(subject)


# --- what is read ------------------------------------------------------------------------------------------------


def content(split) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([split.image(index) for index in range(len(split))]), split.labels()


EXPECTED = {
    "cifar10": {
        "train": (np.concatenate([noise(n, 10, 3, 32, 32) for n in range(1, 6)]), np.tile(labels_for(10, 10), 5)),
        "test": (noise(6, 10, 3, 32, 32), labels_for(10, 10)),
    },
    "cifar100": {
        "train": (noise(0, 200, 3, 32, 32), labels_for(200, 100)),
        "test": (noise(1, 100, 3, 32, 32), labels_for(100, 100)),
    },
    "stl10": {
        "train": (noise(0, 40, 3, 96, 96), labels_for(40, 10)),
        "test": (noise(1, 20, 3, 96, 96), labels_for(20, 10)),
    },
    "fashion-mnist": {
        "train": (noise(0, 30, 28, 28)[:, None].repeat(3, 1), labels_for(30, 10)),
        "test": (noise(1, 20, 28, 28)[:, None].repeat(3, 1), labels_for(20, 10)),
    },
    "svhn": {
        "train": (noise(0, 30, 3, 32, 32), labels_for(30, 10)),
        "test": (noise(1, 20, 3, 32, 32), labels_for(20, 10)),
    },
}


@pytest.mark.parametrize("name", ["train", "test"])
def test_images_and_labels_are_what_was_written(made, name):
    dataset = made.build()
    images, labels = content(dataset.split(name))
    expected_images, expected_labels = EXPECTED[dataset.name][name]
    assert np.array_equal(images.numpy(), expected_images)
    assert labels.tolist() == expected_labels.tolist()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_both_forms_of_cifar_are_one_dataset(tmp_path, name):
    forms = [make(f"{name}-{form}", tmp_path / form).build() for form in ("python", "binary")]
    for split in ("train", "test"):
        assert len({dataset.split(split).fingerprint() for dataset in forms}) == 1
        assert len({tuple(dataset.split(split).digests()) for dataset in forms}) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torchvision's own calls into NumPy
@pytest.mark.parametrize("which", ["cifar10-python", "cifar100-python", "stl10", "fashion-mnist", "svhn-torchvision"])
def test_torchvision_reads_the_same(which, tmp_path):
    """Its classes read the same files, with its own code."""
    made = make(which, tmp_path)
    dataset = made.build()
    for name in ("train", "test"):
        images, labels = content(dataset.split(name))
        pairs = list(reference(made, name))
        assert [label for _, label in pairs] == labels.tolist()
        pictures = np.stack([np.asarray(picture.convert("RGB")) for picture, _ in pairs])
        assert np.array_equal(pictures.transpose(0, 3, 1, 2), images.numpy())


def reference(made: Made, name: str):
    sums = {part: [[file, value] for file, value in files.items()] for part, files in made.form.parts.items()}
    if made.kind.name in ("cifar10", "cifar100"):
        base = datasets.CIFAR10 if made.kind.name == "cifar10" else datasets.CIFAR100
        meta = base.meta | {"md5": md5(made.folder / base.meta["filename"])}
        kind = type(base.__name__, (base,), {"train_list": sums["train"], "test_list": sums["test"], "meta": meta})
        return kind(made.root, train=name == "train")
    if made.kind.name == "stl10":
        lists = {"train_list": [*sums["train"], *sums["unlabeled"]], "test_list": sums["test"]}
        return type("STL10", (datasets.STL10,), lists)(made.root, split=name)
    if made.kind.name == "fashion-mnist":
        return datasets.FashionMNIST(made.root, train=name == "train")
    lists = {part: [None, *sums[part][0]] for part in ("train", "test")}
    return type("SVHN", (datasets.SVHN,), {"split_list": lists})(made.root, split=name)


def test_the_tables_are_those_of_torchvision():
    for ours, other in ((CIFAR10_PYTHON, datasets.CIFAR10), (CIFAR100_PYTHON, datasets.CIFAR100)):
        assert ours.folder == other.base_folder
        assert ours.files == dict(map(tuple, other.train_list + other.test_list))
        assert (ours.sources[0].name, ours.sources[0].md5) == (other.filename, other.tgz_md5)
    stl = dict(map(tuple, datasets.STL10.train_list + datasets.STL10.test_list))
    assert STL10_BINARY.files == stl | STL10_BINARY.parts["folds"]
    assert (STL10_BINARY.sources[0].url, STL10_BINARY.sources[0].md5) == (datasets.STL10.url, datasets.STL10.tgz_md5)
    assert FASHION_MNIST.files == dict(datasets.FashionMNIST.resources)
    assert FashionMNIST.classes == tuple(datasets.FashionMNIST.classes)
    assert {part: tuple(files.items()) for part, files in SVHN_ROOT.parts.items()} == {
        part: ((datasets.SVHN.split_list[part][1], datasets.SVHN.split_list[part][2]),) for part in ("train", "test")
    }


def test_names_of_classes():
    assert len(Cifar100.classes) == 100
    assert list(Cifar100.classes) == sorted(Cifar100.classes)
    assert list(Cifar10.classes) == sorted(Cifar10.classes)
    assert list(STL10.classes) == sorted(STL10.classes)


def test_mirrored_house_numbers_are_none(tmp_path):
    assert make("svhn", tmp_path).build().flips is False


# --- folds, sizes, and images without labels ---------------------------------------------------------------------


def test_a_fold_is_the_published_part_of_train(tmp_path):
    made = make("stl10", tmp_path)
    lines = (made.folder / "fold_indices.txt").read_text().splitlines()
    images, labels = content(made.build().split("train"))
    for fold in (0, 9):
        chosen = list(map(int, lines[fold].split()))
        split = made.build(fold=fold).split("train")
        assert len(split) == 30
        assert torch.equal(content(split)[0], images[chosen])
        assert torch.equal(content(split)[1], labels[chosen])
        assert split.fingerprint() != made.build().split("train").fingerprint()
        assert list(split.digests()) == [made.build().split("train").digests()[index] for index in chosen]
        assert torch.equal(made.build(fold=fold).split("test").labels(), made.build().split("test").labels())


@pytest.mark.parametrize("fold", [-1, 10, "first"])
def test_a_fold_that_does_not_exist(fold):
    with pytest.raises(ValueError, match="fold"):
        STL10Options(fold=fold)


@pytest.mark.parametrize("text", ["0 1\n" * 9, "0 40\n" * 10, "\n" * 10])
def test_folds_that_do_not_fit(tmp_path, text):
    made = make("stl10", tmp_path)
    (made.folder / "fold_indices.txt").write_text(text)
    kind = type("Small", (STL10,), {"forms": (with_sums_of(made.form, made.folder),)})
    with pytest.raises(DataError, match=r"not one for each of 10 folds|fold 0 is none of 40 images"):
        kind(STL10Options(root=str(tmp_path), fold=0)).split("train")


def test_smaller_images_are_those_that_pillow_makes(tmp_path):
    made = make("stl10", tmp_path)
    large, small = made.build(), made.build(image_size=32)
    assert (large.image_size, small.image_size) == ((96, 96), (32, 32))
    for name in ("train", "test"):
        images, labels = content(small.split(name))
        assert torch.equal(labels, large.split(name).labels())
        for image, whole in zip(images, content(large.split(name))[0], strict=True):
            picture = Image.fromarray(whole.permute(1, 2, 0).numpy()).resize((32, 32), Image.Resampling.BICUBIC)
            assert np.array_equal(image.permute(1, 2, 0), np.asarray(picture))
        assert small.split(name).fingerprint() != large.split(name).fingerprint()
    assert small.split("unlabeled").image(3).shape == (3, 32, 32)
    assert made.build(fold=3, image_size=32).split("train").image(0).shape == (3, 32, 32)


def test_unlabeled_images_reach_generators_only(tmp_path):
    dataset = make("stl10", tmp_path).build()
    assert "unlabeled" not in dataset.splits
    assert dataset.unlabeled == ("unlabeled",)
    split = dataset.split("unlabeled")
    images = torch.stack([split.image(index) for index in range(len(split))])
    assert np.array_equal(images.numpy(), noise(2, 12, 3, 96, 96))
    with pytest.raises(DataError, match="have no labels"):
        split.labels()


def test_grey_images_are_resized_once_and_smoothly(tmp_path):
    """Against a bicubic filter of our own: Pillow's has a = -0.5, and 28 to 32 needs no wider support."""
    made = make("fashion-mnist", tmp_path)
    images, _ = content(made.build(image_size=32).split("train"))
    assert images.shape == (30, 3, 32, 32)
    grey = noise(0, 30, 28, 28).astype(np.float64)
    weights = np.zeros((32, 28))
    for row in range(32):
        centre = (row + 0.5) * 28 / 32
        for column in range(28):
            x = abs(column + 0.5 - centre)
            if x < 1:
                weights[row, column] = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x < 2:
                weights[row, column] = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weights /= weights.sum(1, keepdims=True)
    rounded = np.clip(np.einsum("rc,nkc->nkr", weights, grey).round(), 0, 255)
    expected = np.clip(np.einsum("rk,nkc->nrc", weights, rounded), 0, 255)
    difference = np.abs(images[:, 0].numpy() - expected)
    assert difference.max() < 1.6, "half a grey value, and one where the first of the two passes rounds the other way"
    assert difference.mean() < 0.3
    assert torch.equal(images[:, 0], images[:, 2])
    assert made.build(image_size=28).split("train").fingerprint() == made.build().split("train").fingerprint()
    assert made.build(image_size=32).split("train").fingerprint() != made.build().split("train").fingerprint()


# --- what may go wrong -------------------------------------------------------------------------------------------


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_flipped_bit_in_any_file_is_reported(made, place):
    options = {"fold": 0} if made.kind.name == "stl10" else {}
    splits = (*made.kind.splits, *made.kind.unlabeled)
    for split in splits:
        made.build(**options).split(split)
    for part, files in made.form.parts.items():
        for name in files:
            path = made.folder / name
            before = path.read_bytes()
            flip(path, place)
            with pytest.raises(DataError, match=r"is damaged or another file: its md5 is") as error:
                made.build(**options).split("train" if part == "folds" else part)
            assert error.value.what.startswith(f"{name} ")
            assert error.value.where == str(path)
            assert error.value.hint == (
                f"remove this file, then probebench data download {made.kind.name}:root={made.root}"
            )
            path.write_bytes(before)


def test_a_missing_set_says_files_folder_and_command(tmp_path):
    with pytest.raises(DataError) as error:
        Cifar10(CifarOptions()).split("test")
    root = tmp_path / "data"
    assert str(error.value) == (
        "cifar10 has no test part on this machine: test_batch missing\n"
        f"  in: {root}/cifar-10-batches-py or {root}/cifar-10-batches-bin\n"
        "  try: probebench data download cifar10; or put cifar-10-python.tar.gz "
        "(md5 c58f30108f718f92721af3b95e74349a, https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz) "
        f"into {root} first: then it needs no network"
    )


def test_of_a_form_that_is_half_there_the_rest_is_named(tmp_path):
    made = make("cifar10-binary", tmp_path)
    (made.folder / "data_batch_4.bin").unlink()
    kind = type("Small", (Cifar10,), {"forms": (CIFAR10_PYTHON, made.form)})
    with pytest.raises(DataError, match=r"data_batch_4\.bin missing") as error:
        kind(CifarOptions(root=str(tmp_path))).split("train")
    assert error.value.where == str(made.folder)
    assert "cifar-10-binary.tar.gz" in error.value.hint


def test_single_files_are_named_with_their_own_folder(tmp_path):
    with pytest.raises(DataError) as error:
        FashionMNIST(FashionMNISTOptions(root=str(tmp_path))).split("test")
    assert "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz missing" in error.value.what
    assert error.value.hint.endswith(f"into {tmp_path}/FashionMNIST/raw")
    assert "train-images" not in str(error.value)


def test_a_split_that_does_not_exist(made):
    with pytest.raises(UsageError, match=r"no split 'val'\n.*train or test"):
        made.build().split("val")


class Evil:
    def __reduce__(self):
        return (Path.write_text, (Path("evil"), "ran"))


@pytest.mark.parametrize("batch", [Evil(), {"labels": Evil(), "data": noise(0, 1, 3072)}])
def test_a_pickle_that_runs_code_is_refused(tmp_path, monkeypatch, batch):
    """Even where its checksum is the expected one."""
    monkeypatch.chdir(tmp_path)
    made = make("cifar10-python", tmp_path)
    (made.folder / "test_batch").write_bytes(pickle.dumps(batch))
    kind = type("Small", (Cifar10,), {"forms": (with_sums_of(made.form, made.folder),)})
    with pytest.raises(DataError, match=r"test_batch is no batch of CIFAR: it asks for pathlib"):
        kind(CifarOptions(root=str(tmp_path))).split("test")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    ("which", "file", "damage", "message"),
    [
        ("cifar10-python", "test_batch", lambda _: pickle.dumps([1]), "holds a list"),
        (
            "cifar10-python",
            "test_batch",
            lambda _: pickle.dumps({"data": np.zeros((2, 3072))}),
            r"its data are float64",
        ),
        ("cifar10-python", "test_batch", lambda data: data[:-200], "is no batch of CIFAR"),
        ("cifar10-binary", "test_batch.bin", lambda data: data[:-1], "30,729 bytes are no whole records of 3073"),
        ("cifar100-binary", "test.bin", lambda data: b"", "0 bytes are no whole records of 3074"),
        ("stl10", "test_X.bin", lambda data: data[:-1], "which are no whole images of 27,648 bytes"),
        ("stl10", "test_y.bin", lambda data: data[:-1], "19 labels for 20 images"),
        ("fashion-mnist", "t10k-images-idx3-ubyte.gz", lambda data: data[:-10], "is no IDX file"),
        ("fashion-mnist", "t10k-images-idx3-ubyte.gz", lambda data: b"text", "is no IDX file"),
        ("fashion-mnist", "t10k-labels-idx1-ubyte.gz", lambda _: gzip.compress(b"12345678"), "is no IDX file"),
        (
            "fashion-mnist",
            "t10k-labels-idx1-ubyte.gz",
            lambda _: gzip.compress(struct.pack(">2I", 0x801, 3) + bytes(3)),
            "3 labels for 20 images",
        ),
        (
            "fashion-mnist",
            "t10k-labels-idx1-ubyte.gz",
            lambda _: gzip.compress(struct.pack(">2I", 0xD01, 3) + bytes(3)),
            "begins with 00000d01",
        ),
        ("svhn", "test_32x32.mat", lambda data: data[:300], "is no file of SVHN"),
        ("svhn", "test_32x32.mat", lambda data: b"text", "is no file of SVHN"),
    ],
)
def test_files_that_are_not_of_their_format(tmp_path, which, file, damage, message):
    """For whoever changes the tables: the readers themselves believe nothing."""
    made = make(which, tmp_path)
    path = made.folder / file
    path.write_bytes(damage(path.read_bytes()))
    kind = type("Small", (made.kind,), {"forms": (with_sums_of(made.form, made.folder),)})
    with pytest.raises(DataError, match=message) as error:
        replace(made, kind=type("Smaller", (made.kind.__mro__[1],), {"forms": kind.forms})).build().split("test")
    assert error.value.where == str(path)


def test_house_numbers_with_wrong_labels(tmp_path):
    made = make("svhn", tmp_path)
    savemat(made.folder / "test_32x32.mat", {"X": noise(0, 32, 32, 3, 2), "y": np.array([[0], [3]], dtype=np.uint8)})
    kind = type("Small", (SVHN,), {"forms": (with_sums_of(made.form, made.folder),)})
    with pytest.raises(DataError, match="labels reach from 0 to 3, not from 1 to 10"):
        kind(SVHNOptions(root=str(tmp_path))).split("test")


# --- downloads ---------------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path):
    """A web site with a folder of its own; the requests it got."""
    site, asked = tmp_path / "site", []
    site.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site, f"http://127.0.0.1:{http.server_port}/", asked
        http.shutdown()
        thread.join()


def publish(made: Made, site: Path, url: str) -> Made:
    """Moves the files of a dataset to a web site, packed as they are published."""
    sources = []
    for source in made.form.sources:
        if source.name in made.form.files:
            (made.folder / source.name).rename(site / source.name)
        else:
            with tarfile.open(site / source.name, "w:gz") as tar:
                tar.add(made.folder, made.form.folder)
        sources.append(replace(source, url=url + source.name, md5=md5(site / source.name)))
    for path in made.folder.iterdir():
        path.unlink()
    form = replace(made.form, sources=tuple(sources))
    return Made(type("Fetched", (made.kind.__mro__[1],), {"forms": (form,)}), form, made.root)


def options(made: Made):
    model = {"cifar10": CifarOptions, "cifar100": CifarOptions, "stl10": STL10Options, "svhn": SVHNOptions}
    return model.get(made.kind.name, FashionMNISTOptions)(root=str(made.root))


def test_a_download_makes_the_dataset(made, published):
    site, url, asked = published
    expected = {name: made.build().split(name).fingerprint() for name in ("train", "test")}
    fetched = publish(made, site, url)
    told = []
    fetched.kind.fetch(options(fetched), lambda *values: told.append(values))
    assert {name: fetched.build().split(name).fingerprint() for name in expected} == expected
    assert sorted(asked) == sorted(f"/{source.name}" for source in fetched.form.sources)
    assert {name for name, _, _ in told} == {source.name for source in fetched.form.sources}
    fetched.kind.fetch(options(fetched), lambda *_: None)
    assert len(asked) == len(fetched.form.sources), "what is there is not downloaded again"
    left = [path.name for path in fetched.root.rglob("*") if path.name.endswith((".tar.gz", ".part"))]
    assert left == [], "an archive that was downloaded and unpacked takes the space twice"


def test_an_archive_brought_by_hand_needs_no_network_and_stays(tmp_path, published):
    site, url, asked = published
    fetched = publish(make("cifar10-python", tmp_path / "root"), site, url)
    mine = fetched.root / "cifar-10-python.tar.gz"
    (site / "cifar-10-python.tar.gz").rename(mine)
    fetched.kind.fetch(options(fetched), lambda *_: None)
    assert len(fetched.build().split("train")) == 50
    assert mine.exists()
    assert asked == []


def test_a_truncated_archive_is_named_with_the_remedy(tmp_path, published):
    site, url, _ = published
    fetched = publish(make("cifar10-python", tmp_path / "root"), site, url)
    mine = fetched.root / "cifar-10-python.tar.gz"
    mine.write_bytes((site / mine.name).read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is damaged or another file") as error:
        fetched.kind.fetch(options(fetched), lambda *_: None)
    assert error.value.where == str(mine)
    assert error.value.hint == "move it away and run the same command again"


def test_another_form_that_is_there_is_enough(tmp_path, published):
    _, _, asked = published
    made = make("cifar10-binary", tmp_path)
    kind = type("Small", (Cifar10,), {"forms": (CIFAR10_PYTHON, made.form)})
    kind.fetch(CifarOptions(root=str(tmp_path)), lambda *_: None)
    assert asked == []
    assert len(kind(CifarOptions(root=str(tmp_path))).split("train")) == 50


def test_a_damaged_file_is_told_by_a_download_too(tmp_path):
    made = make("svhn", tmp_path)
    flip(made.folder / "train_32x32.mat", 0.5)
    with pytest.raises(DataError, match=r"train_32x32\.mat is damaged"):
        made.kind.fetch(options(made), lambda *_: None)


# --- checksums and folders ---------------------------------------------------------------------------------------


@pytest.fixture
def settled(monkeypatch):
    """Files count as old at once."""
    monkeypatch.setattr(checksums, "_SETTLED", -(10**12))


@pytest.fixture
def reads(monkeypatch):
    """Files whose checksum was taken by reading them."""
    seen = []
    read = checksums.file_md5
    monkeypatch.setattr(checksums, "file_md5", lambda path: (seen.append(path.name), read(path))[1])
    return seen


def test_a_checksum_is_taken_once(tmp_path, settled, reads):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    for _ in range(3):
        checksums.require(path, md5(path), remedy="")
    assert reads == ["file"]
    path.write_bytes(b"CONTENT")
    with pytest.raises(DataError, match="file is damaged"):
        checksums.require(path, hashlib.md5(b"content").hexdigest(), remedy="")
    assert reads == ["file", "file"]


def test_of_a_file_written_just_now_nothing_is_remembered(tmp_path, reads):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    for _ in range(2):
        checksums.require(path, md5(path), remedy="")
    assert reads == ["file", "file"]


@pytest.mark.parametrize("note", [b"", b"[]", b"{}", b'{"md5": 5}', b"\xff"])
def test_a_broken_note_is_no_note(tmp_path, settled, reads, note):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    checksums.require(path, md5(path), remedy="")
    (kept,) = (cache_root() / "checksums").iterdir()
    kept.write_bytes(note)
    checksums.require(path, md5(path), remedy="")
    assert reads == ["file", "file"]


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, settled, reads, monkeypatch):
    (tmp_path / "cache").write_bytes(b"in the way")
    path = tmp_path / "file"
    path.write_bytes(b"content")
    for _ in range(2):
        checksums.require(path, md5(path), remedy="")
    assert reads == ["file", "file"]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="file cannot be read: No such file"):
        checksums.require(tmp_path / "file", "0" * 32, remedy="download it")


def test_the_data_root(monkeypatch, tmp_path):
    assert data_root(None) == data_root("") == tmp_path / "data"
    assert data_root(str(tmp_path / "mine")) == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root("~/mine") == tmp_path / "mine"
    monkeypatch.delenv("PROBEBENCH_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert data_root(None).name == "datasets"
    assert "probebench" in data_root(None).parts
    monkeypatch.delenv("PROBEBENCH_CACHE")
    assert "probebench" in cache_root().parts


@pytest.mark.parametrize("model", [CifarOptions, STL10Options, FashionMNISTOptions, SVHNOptions])
def test_where_the_data_lie_is_not_part_of_what_they_are(model):
    assert "root" in model.places
