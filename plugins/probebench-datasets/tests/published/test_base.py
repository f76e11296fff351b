"""All published datasets: what they read, damaged files, and downloads."""

from __future__ import annotations

import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from probebench.api import DataError, UsageError
from probebench_datasets.options import CifarOptions
from probebench_datasets.published.cifar import CIFAR10_PYTHON, Cifar10


@pytest.fixture
def written(noise, labels_for):
    """Returns the images and labels of the small files, by name of the dataset and split."""
    cifar_train = np.concatenate([noise(number, 10, 3, 32, 32) for number in range(1, 6)])
    return {
        ("cifar10", "train"): (cifar_train, np.tile(labels_for(10, 10), 5)),
        ("cifar10", "test"): (noise(6, 10, 3, 32, 32), labels_for(10, 10)),
        ("cifar100", "train"): (noise(0, 200, 3, 32, 32), labels_for(200, 100)),
        ("cifar100", "test"): (noise(1, 100, 3, 32, 32), labels_for(100, 100)),
        ("stl10", "train"): (noise(0, 40, 3, 96, 96), labels_for(40, 10)),
        ("stl10", "test"): (noise(1, 20, 3, 96, 96), labels_for(20, 10)),
        ("fashion-mnist", "train"): (noise(0, 30, 28, 28)[:, None].repeat(3, 1), labels_for(30, 10)),
        ("fashion-mnist", "test"): (noise(1, 20, 28, 28)[:, None].repeat(3, 1), labels_for(20, 10)),
        ("svhn", "train"): (noise(0, 30, 3, 32, 32), labels_for(30, 10)),
        ("svhn", "test"): (noise(1, 20, 3, 32, 32), labels_for(20, 10)),
    }


@pytest.mark.parametrize("name", ["train", "test"])
def test_images_and_labels_are_those_of_the_files(small, written, name):
    dataset = small.build()
    split = dataset.split(name)
    images, labels = written[dataset.name, name]
    assert np.array_equal(torch.stack([split.image(index) for index in range(len(split))]).numpy(), images)
    assert split.labels().tolist() == labels.tolist()


def test_a_split_that_does_not_exist(small):
    with pytest.raises(UsageError, match=r"no split 'val'\n.*train or test"):
        small.build().split("val")


def flip(path, position: float) -> None:
    data = bytearray(path.read_bytes())
    data[min(int(position * len(data)), len(data) - 1)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("position", [0.0, 0.5, 1.0])
def test_one_flipped_bit_in_any_file_is_reported(small, position):
    options = {"fold": 0} if small.base.name == "stl10" else {}
    for split in (*small.base.splits, *small.base.unlabeled):
        small.build(**options).split(split)
    for part, names in small.file_set.parts.items():
        for name in names:
            path = small.folder / name
            before = path.read_bytes()
            flip(path, position)
            with pytest.raises(DataError, match=r"is damaged or a different file: its MD5 checksum is") as error:
                small.build(**options).split("train" if part == "folds" else part)
            assert error.value.what.startswith(f"{name} ")
            assert error.value.where == str(path)
            assert error.value.hint == (
                f"delete this file, then run probebench data download {small.base.name}:root={small.root}"
            )
            path.write_bytes(before)


@pytest.fixture
def site(tmp_path):
    """Serves a folder; returns it, its address, and the requested paths."""
    folder, requests = tmp_path / "site", []
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            requests.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{http.server_port}/", requests
        http.shutdown()
        thread.join()


@pytest.fixture
def publish(site, md5):
    """Returns a function that moves the files of a dataset to the site, in archives where they are published so."""
    folder, url, _ = site

    def publish(small):
        sources = []
        for source in small.file_set.sources:
            if source.name in small.file_set.files:
                (small.folder / source.name).rename(folder / source.name)
            else:
                with tarfile.open(folder / source.name, "w:gz", compresslevel=1) as tar:
                    tar.add(small.folder, small.file_set.folder)
            sources.append(replace(source, url=url + source.name, md5=md5(folder / source.name)))
        for path in small.folder.iterdir():
            path.unlink()
        return replace(small, file_set=replace(small.file_set, sources=tuple(sources)))

    return publish


def test_a_download_gives_the_dataset(small, site, publish):
    _, _, requests = site
    expected = {name: small.build().split(name).fingerprint() for name in ("train", "test")}
    fetched = publish(small)
    calls = []
    fetched.fetch(lambda *values: calls.append(values))
    assert {name: fetched.build().split(name).fingerprint() for name in expected} == expected
    assert sorted(requests) == sorted(f"/{source.name}" for source in fetched.file_set.sources)
    assert {name for name, _, _ in calls} == {source.name for source in fetched.file_set.sources}
    fetched.fetch()
    assert len(requests) == len(fetched.file_set.sources), "existing files are not downloaded again"
    left = [path.name for path in fetched.root.rglob("*") if path.name.endswith((".tar.gz", ".part"))]
    assert left == [], "an archive that was downloaded and unpacked takes the space twice"


def test_an_archive_copied_by_the_user_needs_no_network_and_is_kept(tmp_path, make, site, publish):
    folder, _, requests = site
    fetched = publish(make("cifar10-python", tmp_path / "root"))
    copied = fetched.root / "cifar-10-python.tar.gz"
    (folder / "cifar-10-python.tar.gz").rename(copied)
    fetched.fetch()
    assert len(fetched.build().split("train")) == 50
    assert copied.exists()
    assert requests == []


def test_a_truncated_archive_is_named(tmp_path, make, site, publish):
    folder, _, _ = site
    fetched = publish(make("cifar10-python", tmp_path / "root"))
    copied = fetched.root / "cifar-10-python.tar.gz"
    copied.write_bytes((folder / copied.name).read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz is damaged or a different file") as error:
        fetched.fetch()
    assert error.value.where == str(copied)
    assert error.value.hint == f"delete {copied} and run the same command again"


def test_a_complete_file_set_in_another_format_is_enough(tmp_path, make, site):
    _, _, requests = site
    small = make("cifar10-binary", tmp_path)
    kind = type("Small", (Cifar10,), {"file_sets": (CIFAR10_PYTHON, small.file_set)})
    kind.fetch(CifarOptions(root=str(tmp_path)), lambda *_: None)
    assert requests == []
    assert len(kind(CifarOptions(root=str(tmp_path))).split("train")) == 50


def test_a_download_reports_a_damaged_file_too(tmp_path, make):
    small = make("svhn", tmp_path)
    flip(small.folder / "train_32x32.mat", 0.5)
    with pytest.raises(DataError, match=r"train_32x32\.mat is damaged"):
        small.fetch()
