"""The folders of downloaded datasets and of the cache, and the files that each dataset reads. Light: no NumPy."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from probebench_datasets.options import PathOptions, RootOptions


def data_root(option: str | None) -> Path:
    """Returns the folder of downloaded datasets: one folder for each, named as torchvision names it.

    Args:
        option: The dataset's option ``root``. If it is empty or None, the variable ``PROBEBENCH_DATA`` is used, then
            the platform's folder for the user's data. A tilde is the home folder.
    """
    if chosen := option or os.environ.get("PROBEBENCH_DATA"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("probebench", appauthor=False)) / "datasets"


def cache_root() -> Path:
    """Returns the folder of files that can be computed again.

    It is ``PROBEBENCH_CACHE``, or the platform's folder for the user's cache.
    """
    if chosen := os.environ.get("PROBEBENCH_CACHE"):
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("probebench", appauthor=False))


def user_files(options: PathOptions) -> tuple[Path, ...]:
    """Returns the folder or file of a user's dataset."""
    return (Path(options.path).expanduser().absolute(),)


def cifar10_files(options: RootOptions) -> tuple[Path, ...]:
    """Returns the folders of `cifar10`, one for each published format."""
    return _below_root(options, "cifar-10-batches-py", "cifar-10-batches-bin")


def cifar100_files(options: RootOptions) -> tuple[Path, ...]:
    """Returns the folders of `cifar100`, one for each published format."""
    return _below_root(options, "cifar-100-python", "cifar-100-binary")


def fashion_mnist_files(options: RootOptions) -> tuple[Path, ...]:
    """Returns the folder of `fashion-mnist`."""
    return _below_root(options, "FashionMNIST/raw")


def flowers102_files(options: RootOptions) -> tuple[Path, ...]:
    """Returns the folder of `flowers102`."""
    return _below_root(options, "flowers-102")


def stl10_files(options: RootOptions) -> tuple[Path, ...]:
    """Returns the folder of `stl10`."""
    return _below_root(options, "stl10_binary")


def svhn_files(options: RootOptions) -> tuple[Path, ...]:
    """Returns the folder of `svhn`, and its files where they are in the data root itself."""
    return _below_root(options, "svhn", "train_32x32.mat", "test_32x32.mat")


def _below_root(options: RootOptions, *folders: str) -> tuple[Path, ...]:
    return tuple(data_root(options.root).absolute() / folder for folder in folders)
