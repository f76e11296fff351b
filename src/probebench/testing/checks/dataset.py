"""Checks of datasets and their splits."""

from __future__ import annotations

import pickle
import re
from itertools import combinations
from typing import TYPE_CHECKING
from unittest import mock

import torch
from torch import Tensor

from probebench.api import Dataset, Split, UsageError
from probebench.testing.checks.contract import Build, CheckList, ConformanceError, require
from probebench.testing.side_effects import no_network, require_no_global_random_state, tensor_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

dataset_check = CheckList("dataset")

_SAMPLED = 32
_COMPARED = 20_000


def _evenly_spaced(split: Split, count: int = _SAMPLED) -> list[int]:
    """Returns at most `count` evenly spaced positions, with the first and the last image."""
    last = len(split) - 1
    return sorted({round(last * step / max(count - 1, 1)) for step in range(count)})


def _splits(dataset: Dataset) -> dict[str, Split]:
    return {name: dataset.split(name) for name in dataset.splits}


@dataset_check
def attributes_are_valid(build: Build[Dataset]) -> None:
    """A dataset has two or more classes with unique names, the splits train and test, an image size and a metric."""
    dataset = build()
    names = tuple(dataset.classes)
    unique = len(names) >= 2 and len(set(names)) == len(names) and all(isinstance(name, str) for name in names)
    require(unique, f"classes are {names[:5]}", hint="set two or more unique names, in the order of the labels")
    missing = sorted({"train", "test"} - set(dataset.splits))
    require(not missing, f"splits {missing} are missing", hint='set `splits` to at least ("train", "test")')
    size = tuple(dataset.image_size)
    fine = len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)
    require(fine, f"image_size is {size}", hint="set (height, width) in pixels")
    known = ("top1", "mean_per_class")
    require(dataset.metric in known, f"metric is {dataset.metric!r}", hint=f"one of {known}")


@dataset_check
def splits_have_images(build: Build[Dataset]) -> None:
    """Every declared split exists, and its length is the number of labels and of readable images."""
    for name, split in _splits(build()).items():
        require(isinstance(split, Split), f"split {name} is a {type(split).__name__}", hint="derive from api.Split")
        require(len(split) > 0, f"split {name} is empty", hint="declare only splits that have images")
        labels = len(split.labels())
        require(
            labels == len(split),
            f"split {name} has {len(split)} images and {labels} labels",
            hint="return one label for each image",
        )
        for index in (0, len(split) - 1):
            try:
                split.image(index)
            except IndexError as error:
                raise ConformanceError(
                    f"image {index} of split {name} does not exist; return the number of images from __len__"
                ) from error


@dataset_check
def labels_are_classes(build: Build[Dataset]) -> None:
    """Labels are int64 (N,), from 0 to the number of classes minus one."""
    dataset = build()
    for name, split in _splits(dataset).items():
        labels = split.labels()
        fine = labels.dtype == torch.int64 and labels.ndim == 1
        require(fine, f"labels of {name} are {labels.dtype} {tuple(labels.shape)}", hint="return int64 (N,)")
        least, most = int(labels.min()), int(labels.max())
        require(
            least >= 0 and most < len(dataset.classes),
            f"labels of {name} reach from {least} to {most}, and there are {len(dataset.classes)} classes",
            hint="count classes from 0, and leave images without a label (-1) out of the split",
        )


@dataset_check
def classes_are_in_train(build: Build[Dataset]) -> None:
    """Every class has an image in train."""
    dataset = build()
    present = set(dataset.split("train").labels().tolist())
    absent = [name for label, name in enumerate(dataset.classes) if label not in present]
    require(not absent, f"train has no image of {absent[:5]}", hint="remove classes without images from `classes`")


@dataset_check
def images_are_uint8(build: Build[Dataset]) -> None:
    """Images are uint8 (3, H, W) of the declared image_size."""
    dataset = build()
    shape = (3, *dataset.image_size)
    for name, split in _splits(dataset).items():
        for index in _evenly_spaced(split):
            image = split.image(index)
            require(
                image.dtype == torch.uint8 and tuple(image.shape) == shape,
                f"image {index} of {name} is {image.dtype} {tuple(image.shape)}, not uint8 {shape}",
                hint="decode to RGB and resize; the backbone normalises",
            )


@dataset_check
def order_of_access_does_not_matter(build: Build[Dataset]) -> None:
    """Two builds have the same images and labels, in any order of access."""
    first, second = _splits(build()), _splits(build())
    for name, split in first.items():
        hint = "let an image depend only on its split and index, and sort file names"
        same = torch.equal(split.labels(), second[name].labels())
        require(same, f"two builds have {name} different labels", hint=hint)
        order = _evenly_spaced(split)
        forwards = {index: split.image(index) for index in order}
        backwards = {index: second[name].image(index) for index in reversed(order)}
        for index in order:
            same = torch.equal(forwards[index], backwards[index])
            require(same, f"image {index} of {name} differs between two builds", hint=hint)
        again = split.image(order[0])
        require(torch.equal(again, forwards[order[0]]), f"a second read of {name} returns another image", hint=hint)


@dataset_check
def callers_cannot_change_data(build: Build[Dataset]) -> None:
    """Changes to a returned image or label do not change the dataset."""
    split = build().split("train")
    reads: dict[str, Callable[[], Tensor]] = {"image 0": lambda: split.image(0), "labels()": split.labels}
    for what, read in reads.items():
        returned = read()
        before = returned.clone()
        returned += 1
        require(torch.equal(read(), before), f"{what} of train changes with the returned tensor", hint="return a copy")


@dataset_check
def splits_share_no_image(build: Build[Dataset]) -> None:
    """No image is in two splits (at most 20,000 evenly spaced images of each split are compared)."""
    contents = {
        name: {tensor_digest(split.image(index)): index for index in _evenly_spaced(split, _COMPARED)}
        for name, split in _splits(build()).items()
    }
    for (one, first), (other, second) in combinations(contents.items(), 2):
        shared = sorted((first[content], second[content]) for content in first.keys() & second.keys())
        if shared:
            index, other_index = shared[0]
            what = f"{one} and {other} share {len(shared)} images: {index} of {one} is {other_index} of {other}"
            hint = "remove them from one of the splits, because test images must not be used in training"
            require(holds=False, what=what, hint=hint)


@dataset_check
def fingerprints_differ_between_splits(build: Build[Dataset]) -> None:
    """Fingerprints are SHA-256 in hexadecimal, the same for two builds, and differ between splits."""
    splits, again = _splits(build()), _splits(build())
    seen: dict[str, str] = {}
    for name, split in splits.items():
        value = split.fingerprint()
        is_sha256 = bool(re.fullmatch(r"[0-9a-f]{64}", value))
        require(is_sha256, f"fingerprint of {name} is {value!r}", hint="return sha256(...).hexdigest()")
        split.image(0)
        stable = value == split.fingerprint() == again[name].fingerprint()
        require(stable, f"fingerprint of {name} changes", hint="hash only images and labels")
        require(
            value not in seen,
            f"{name} and {seen.get(value)} have the same fingerprint",
            hint="hash the images and labels of this split",
        )
        seen[value] = name


@dataset_check
def labels_read_no_image(build: Build[Dataset]) -> None:
    """labels() reads no image."""
    for name, split in _splits(build()).items():
        kind = type(split)
        with mock.patch.object(kind, "image", autospec=True, side_effect=kind.image) as image:
            split.labels()
        require(
            not image.called,
            f"labels() of {name} reads {image.call_count} images",
            hint="store the labels separately, because the core often needs labels without images",
        )


@dataset_check
def workers_can_read_it(build: Build[Dataset]) -> None:
    """A split can be pickled, because it is sent to worker processes."""
    for name, split in _splits(build()).items():
        hint = "do not store open files, locks or lambdas in self, or remove them in __getstate__"
        try:
            copy = pickle.loads(pickle.dumps(split))  # noqa: S301 - made in the same line
        except Exception as error:
            raise ConformanceError(f"split {name} cannot be pickled ({error}); {hint}") from error
        last = len(split) - 1
        same = len(copy) == len(split) and torch.equal(copy.labels(), split.labels())
        same = same and torch.equal(copy.image(last), split.image(last))
        require(same, f"a pickled copy of {name} has other images or labels", hint=hint)


@dataset_check
def index_out_of_range_is_refused(build: Build[Dataset]) -> None:
    """An index beyond the last image raises IndexError."""
    for name, split in _splits(build()).items():
        for index in (len(split), -len(split) - 1):
            hint = f"raise IndexError unless 0 <= index < {len(split)}"
            try:
                split.image(index)
            except IndexError:
                continue
            except Exception as error:
                raise ConformanceError(f"image({index}) of {name} raises {type(error).__name__}; {hint}") from error
            require(holds=False, what=f"image({index}) of {name} returns an image", hint=hint)


@dataset_check
def unknown_split_is_refused(build: Build[Dataset]) -> None:
    """split() raises UsageError for a split that does not exist."""
    hint = "raise api.UsageError, which names the existing splits"
    try:
        build().split("no-such-split")
    except UsageError:
        return
    except Exception as error:
        raise ConformanceError(f"split('no-such-split') raises {type(error).__name__}; {hint}") from error
    require(holds=False, what="split('no-such-split') returns a split", hint=hint)


@dataset_check
def random_state_is_untouched(build: Build[Dataset]) -> None:
    """Building and reading neither change nor read the global random state of torch, numpy or random."""

    def work() -> list[Tensor]:
        splits = _splits(build()).values()
        return [tensor for split in splits for tensor in (split.labels(), split.image(0), split.image(len(split) - 1))]

    def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
        return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))

    require_no_global_random_state(work, same)


@dataset_check
def no_network_is_needed(build: Build[Dataset]) -> None:
    """A dataset whose files exist is read without the network."""
    with no_network() as attempts:
        for split in _splits(build()).values():
            split.labels()
            split.image(0)
            split.fingerprint()
    require(
        not attempts,
        f"the dataset connects to {attempts[:3]}",
        hint="look for the files on the disk first, and download only missing files",
    )
