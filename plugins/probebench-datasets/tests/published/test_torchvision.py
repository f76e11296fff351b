"""torchvision reads the same images and labels from the same files, and has the same table of files."""

from __future__ import annotations

import numpy as np
import pytest
from torchvision import datasets

from probebench_datasets.published.cifar import CIFAR10_PYTHON, CIFAR100_PYTHON
from probebench_datasets.published.fashion_mnist import FASHION_MNIST, FashionMNIST
from probebench_datasets.published.stl10 import STL10_BINARY
from probebench_datasets.published.svhn import SVHN_ROOT


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # from torchvision's own calls of NumPy
@pytest.mark.parametrize("which", ["cifar10-python", "cifar100-python", "stl10", "fashion-mnist", "svhn-torchvision"])
def test_images_and_labels(which, make, md5, tmp_path):
    small = make(which, tmp_path)
    dataset = small.build()
    for name in ("train", "test"):
        split = dataset.split(name)
        pairs = list(reference(small, name, md5))
        assert [label for _, label in pairs] == split.labels().tolist()
        expected = np.stack([np.asarray(image.convert("RGB")) for image, _ in pairs]).transpose(0, 3, 1, 2)
        assert np.array_equal(np.stack([split.image(index).numpy() for index in range(len(split))]), expected)


def reference(small, name: str, md5):
    """Returns the split as torchvision reads it."""
    sums = {part: [[file, value] for file, value in files.items()] for part, files in small.file_set.parts.items()}
    if small.base.name in ("cifar10", "cifar100"):
        base = datasets.CIFAR10 if small.base.name == "cifar10" else datasets.CIFAR100
        meta = base.meta | {"md5": md5(small.folder / base.meta["filename"])}
        kind = type(base.__name__, (base,), {"train_list": sums["train"], "test_list": sums["test"], "meta": meta})
        return kind(small.root, train=name == "train")
    if small.base.name == "stl10":
        lists = {"train_list": [*sums["train"], *sums["unlabeled"]], "test_list": sums["test"]}
        return type("STL10", (datasets.STL10,), lists)(small.root, split=name)
    if small.base.name == "fashion-mnist":
        return datasets.FashionMNIST(small.root, train=name == "train")
    lists = {part: [None, *sums[part][0]] for part in ("train", "test")}
    return type("SVHN", (datasets.SVHN,), {"split_list": lists})(small.root, split=name)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(CIFAR10_PYTHON, datasets.CIFAR10), (CIFAR100_PYTHON, datasets.CIFAR100)], ids=["10", "100"]
)
def test_files_of_cifar(ours, theirs):
    assert ours.folder == theirs.base_folder
    assert ours.files == dict(map(tuple, theirs.train_list + theirs.test_list))
    assert (ours.sources[0].name, ours.sources[0].md5) == (theirs.filename, theirs.tgz_md5)


def test_files_of_stl10():
    theirs = dict(map(tuple, datasets.STL10.train_list + datasets.STL10.test_list))
    assert STL10_BINARY.files == theirs | STL10_BINARY.parts["folds"]
    assert (STL10_BINARY.sources[0].url, STL10_BINARY.sources[0].md5) == (datasets.STL10.url, datasets.STL10.tgz_md5)


def test_files_of_fashion_mnist():
    assert FASHION_MNIST.files == dict(datasets.FashionMNIST.resources)
    assert FashionMNIST.classes == tuple(datasets.FashionMNIST.classes)


def test_files_of_svhn():
    assert {part: tuple(files.items()) for part, files in SVHN_ROOT.parts.items()} == {
        part: ((datasets.SVHN.split_list[part][1], datasets.SVHN.split_list[part][2]),) for part in ("train", "test")
    }
