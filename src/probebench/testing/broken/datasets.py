"""Datasets that each break a requirement. Each docstring describes a mistake of a plugin author."""
# ruff: noqa: D102 - the docstring of a class describes its method

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import threading
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyDataset, ToySplit

if TYPE_CHECKING:
    from probebench.api import Options, Split

_built = itertools.count()


class _WithSplit(ToyDataset):
    """A dataset whose splits have another class."""

    split_type: ClassVar[type[ToySplit]]

    def split(self, name: str) -> Split:
        good = super().split(name)
        return self.split_type(name, len(good))


@breaks("attributes_are_valid")
class DuplicateClass(ToyDataset):
    """Has two classes with one name."""

    classes = ("dark", "dark", "light")


@breaks("attributes_are_valid")
class NoTestSplit(ToyDataset):
    """Has no split to measure on."""

    splits = ("train",)


@breaks("attributes_are_valid")
class SizeIsANumber(ToyDataset):
    """Sets the image size to one number."""

    image_size = (8,)  # type: ignore[assignment]


@breaks("attributes_are_valid")
class UnknownMetric(ToyDataset):
    """Sets a metric that the core does not know."""

    metric = "f1"  # type: ignore[assignment]


class _LongSplit(ToySplit):
    def __len__(self) -> int:
        return self.count + 1

    def labels(self) -> Tensor:
        return torch.arange(self.count + 1) % 3


@breaks("splits_have_images")
class TooLong(_WithSplit):
    """Counts an image that cannot be read in its length."""

    split_type = _LongSplit


class _UnlabelledTail(ToySplit):
    def labels(self) -> Tensor:
        return super().labels()[:-1]


@breaks("splits_have_images")
class FewerLabelsThanImages(_WithSplit):
    """Has one label less than images."""

    split_type = _UnlabelledTail


@breaks("splits_have_images")
class EmptySplit(ToyDataset):
    """Declares a split without images."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options, test=0)


class _FromOne(ToySplit):
    def labels(self) -> Tensor:
        return super().labels() + 1


@breaks("labels_are_classes")
class LabelsFromOne(_WithSplit):
    """Returns labels that count from 1, as in the archive."""

    split_type = _FromOne


class _Unlabelled(ToySplit):
    def labels(self) -> Tensor:
        return super().labels().where(torch.arange(self.count) > 3, -1)


@breaks("labels_are_classes")
class UnlabelledImages(_WithSplit):
    """Includes images without labels, which are marked -1."""

    split_type = _Unlabelled


class _ShortLabels(ToySplit):
    def labels(self) -> Tensor:
        return super().labels().to(torch.int32)


@breaks("labels_are_classes")
class Int32Labels(_WithSplit):
    """Returns int32 labels."""

    split_type = _ShortLabels


@breaks("classes_are_in_train")
class ClassWithoutImages(ToyDataset):
    """Declares a class of the full dataset that this subset does not contain."""

    classes = ("dark", "middle", "light", "absent")


class _Floats(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(index) / 255


@breaks("images_are_uint8")
class FloatImages(_WithSplit):
    """Scales images to values from 0 to 1, as torchvision's ToTensor does."""

    split_type = _Floats


class _GreyTail(ToySplit):
    def image(self, index: int) -> Tensor:
        image = super().image(index)
        return image if index < self.count - 1 else image[:1]


@breaks("images_are_uint8")
class OneGreyImage(_WithSplit):
    """Does not convert the last file, which is grey, to RGB."""

    split_type = _GreyTail


class _InSequence(ToySplit):
    def __init__(self, name: str, count: int) -> None:
        super().__init__(name, count)
        self._generator = torch.Generator().manual_seed(0)

    def image(self, index: int) -> Tensor:
        brighter = torch.randint(0, 20, (3, 8, 8), generator=self._generator, dtype=torch.uint8)
        return super().image(index) + brighter

    def __getstate__(self) -> dict[str, object]:
        return {"name": self.name, "count": self.count, "_generator": torch.Generator()}


@breaks("order_of_access_does_not_matter")
class AugmentsInSequence(_WithSplit):
    """Augments images at random at every read, with a seeded generator."""

    split_type = _InSequence


class _Backwards(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(self.count - 1 - index)


@breaks("order_of_access_does_not_matter")
class UnsortedFiles(ToyDataset):
    """Uses the order in which the file system lists the images."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        self._split_type = _Backwards if next(_built) % 2 else ToySplit

    def split(self, name: str) -> Split:
        return self._split_type(name, self.sizes[name])


class _Shared(ToySplit):
    def __init__(self, name: str, count: int) -> None:
        super().__init__(name, count)
        self._images = [super(_Shared, self).image(index) for index in range(count)]

    def image(self, index: int) -> Tensor:
        return self._images[index]


class _SharedLabels(ToySplit):
    def __init__(self, name: str, count: int) -> None:
        super().__init__(name, count)
        self._labels = super().labels()

    def labels(self) -> Tensor:
        return self._labels


@breaks("callers_cannot_change_data")
class SharesImageMemory(_WithSplit):
    """Returns images that share the memory of the dataset."""

    split_type = _Shared


@breaks("callers_cannot_change_data")
class SharesLabelMemory(_WithSplit):
    """Returns the stored tensor from labels()."""

    split_type = _SharedLabels


class _Leaked(ToySplit):
    def image(self, index: int) -> Tensor:
        return ToySplit("train", self.count).image(index) if index == 1 else super().image(index)


@breaks("splits_share_no_image")
class TestImageInTrain(_WithSplit):
    """Has one image in both splits."""

    split_type = _Leaked


class _OneFingerprint(ToySplit):
    def fingerprint(self) -> str:
        return "0" * 64


@breaks("fingerprints_differ_between_splits")
class FingerprintOfTheDataset(_WithSplit):
    """Uses the fingerprint of the archive for all splits."""

    split_type = _OneFingerprint


class _CountingFingerprint(ToySplit):
    def fingerprint(self) -> str:
        return f"{next(_built):064x}"


@breaks("fingerprints_differ_between_splits")
class UnstableFingerprint(_WithSplit):
    """Returns a fingerprint that changes from call to call, as one of file times does."""

    split_type = _CountingFingerprint


class _ReadsForLabels(ToySplit):
    def labels(self) -> Tensor:
        return torch.tensor([index % 3 for index in range(self.count) if self.image(index) is not None])


@breaks("labels_read_no_image")
class DecodesForLabels(_WithSplit):
    """Decodes every image in labels()."""

    split_type = _ReadsForLabels


class _Locked(ToySplit):
    def __init__(self, name: str, count: int) -> None:
        super().__init__(name, count)
        self._lock = threading.Lock()


@breaks("workers_can_read_it")
class HoldsALock(_WithSplit):
    """Stores a lock, which cannot be sent to a worker process."""

    split_type = _Locked


class _ForgetsItsName(ToySplit):
    def __getstate__(self) -> dict[str, object]:
        return {"name": "", "count": self.count}


@breaks("workers_can_read_it")
class WrongAfterPickling(_WithSplit):
    """Loses its name when it is pickled, so that workers read other images."""

    split_type = _ForgetsItsName


class _Wraps(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(index % self.count)


@breaks("index_out_of_range_is_refused")
class WrapsAround(_WithSplit):
    """Returns the first image after the last."""

    split_type = _Wraps


class _KeyError(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image({position: position for position in range(self.count)}[index])


@breaks("index_out_of_range_is_refused")
class RaisesKeyError(_WithSplit):
    """Raises KeyError, so that loops which end at IndexError fail."""

    split_type = _KeyError


@breaks("unknown_split_is_refused")
class UnknownSplitIsTrain(ToyDataset):
    """Returns train for a misspelt split."""

    def split(self, name: str) -> Split:
        return super().split(name if name in self.sizes else "train")


@breaks("unknown_split_is_refused")
class UnknownSplitIsKeyError(ToyDataset):
    """Raises KeyError for a misspelt split, which has no message for the user."""

    def split(self, name: str) -> Split:
        return ToySplit(name, self.sizes[name])


class _Random(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(index) + int(random.random() * 20)  # noqa: S311 - the mistake of this fake


@breaks("random_state_is_untouched")
class AugmentsWithRandom(_WithSplit):
    """Changes the brightness at random, with the global state of the standard library."""

    split_type = _Random


@breaks("random_state_is_untouched")
class SeedsNumpy(ToyDataset):
    """Seeds the global state of numpy."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        np.random.seed(0)
        np.random.standard_normal(2)


class _Online(ToySplit):
    def fingerprint(self) -> str:
        with contextlib.suppress(OSError):
            socket.create_connection(("localhost", 9), timeout=0.01).close()
        return super().fingerprint()


@breaks("no_network_is_needed")
class ChecksForUpdates(_WithSplit):
    """Asks a server for a newer version at each call, and ignores connection errors."""

    split_type = _Online
