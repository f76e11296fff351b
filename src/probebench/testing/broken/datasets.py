"""Datasets that each break a law. Each docstring says what a plugin author may have done."""
# ruff: noqa: D102 - a class says what is wrong with its method

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
    """A dataset whose splits are of another class."""

    split_type: ClassVar[type[ToySplit]]

    def split(self, name: str) -> Split:
        good = super().split(name)
        return self.split_type(name, len(good))


@breaks("card_is_valid")
class OneClassTwice(ToyDataset):
    """Two classes share a name."""

    classes = ("dark", "dark", "light")


@breaks("card_is_valid")
class NoTestSplit(ToyDataset):
    """There is nothing to measure on."""

    splits = ("train",)


@breaks("card_is_valid")
class SizeIsANumber(ToyDataset):
    """The image size is not height and width."""

    image_size = (8,)  # type: ignore[assignment]


@breaks("card_is_valid")
class UnknownMetric(ToyDataset):
    """A metric that the core does not know."""

    metric = "f1"  # type: ignore[assignment]


class _LongSplit(ToySplit):
    def __len__(self) -> int:
        return self.count + 1

    def labels(self) -> Tensor:
        return torch.arange(self.count + 1) % 3


@breaks("splits_have_images")
class LongerThanItsImages(_WithSplit):
    """The length counts an image that cannot be read."""

    split_type = _LongSplit


class _UnlabelledTail(ToySplit):
    def labels(self) -> Tensor:
        return super().labels()[:-1]


@breaks("splits_have_images")
class FewerLabelsThanImages(_WithSplit):
    """One image has no label."""

    split_type = _UnlabelledTail


@breaks("splits_have_images")
class EmptySplit(ToyDataset):
    """A split without images is declared."""

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options, test=0)


class _FromOne(ToySplit):
    def labels(self) -> Tensor:
        return super().labels() + 1


@breaks("labels_are_classes")
class CountsFromOne(_WithSplit):
    """Labels as in the archive, which counts from 1."""

    split_type = _FromOne


class _Unlabelled(ToySplit):
    def labels(self) -> Tensor:
        return super().labels().where(torch.arange(self.count) > 3, -1)


@breaks("labels_are_classes")
class UnlabelledImages(_WithSplit):
    """Unlabelled images, marked -1, are part of the split."""

    split_type = _Unlabelled


class _ShortLabels(ToySplit):
    def labels(self) -> Tensor:
        return super().labels().to(torch.int32)


@breaks("labels_are_classes")
class Int32Labels(_WithSplit):
    """Labels in another type of integer."""

    split_type = _ShortLabels


@breaks("classes_are_in_train")
class ClassWithoutImages(ToyDataset):
    """A class of the full dataset that this subset leaves out."""

    classes = ("dark", "middle", "light", "none of them")


class _Floats(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(index) / 255


@breaks("images_are_uint8")
class FloatImages(_WithSplit):
    """Images are scaled to 0..1, as torchvision's ToTensor does."""

    split_type = _Floats


class _GreyTail(ToySplit):
    def image(self, index: int) -> Tensor:
        image = super().image(index)
        return image if index < self.count - 1 else image[:1]


@breaks("images_are_uint8")
class OneGreyImage(_WithSplit):
    """The last file is grey, and nobody converted it to RGB."""

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
    """A random augmentation is drawn at every read, from a seeded generator."""

    split_type = _InSequence


class _Backwards(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(self.count - 1 - index)


@breaks("order_of_access_does_not_matter")
class UnsortedFiles(ToyDataset):
    """The order of the images is that in which the file system lists them."""

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


@breaks("callers_cannot_change_it")
class HandsOutItsImages(_WithSplit):
    """Images are views of the dataset's memory."""

    split_type = _Shared


@breaks("callers_cannot_change_it")
class HandsOutItsLabels(_WithSplit):
    """labels() gives the dataset's own tensor."""

    split_type = _SharedLabels


class _Leaked(ToySplit):
    def image(self, index: int) -> Tensor:
        return ToySplit("train", self.count).image(index) if index == 1 else super().image(index)


@breaks("splits_share_no_image")
class TestImageInTrain(_WithSplit):
    """One photograph is in both splits."""

    split_type = _Leaked


class _OneFingerprint(ToySplit):
    def fingerprint(self) -> str:
        return "0" * 64


@breaks("fingerprints_tell_splits_apart")
class FingerprintOfTheDataset(_WithSplit):
    """All splits share the fingerprint of the archive."""

    split_type = _OneFingerprint


class _CountingFingerprint(ToySplit):
    def fingerprint(self) -> str:
        return f"{next(_built):064x}"


@breaks("fingerprints_tell_splits_apart")
class FingerprintOfTheMoment(_WithSplit):
    """The fingerprint changes from call to call, as one over file times does."""

    split_type = _CountingFingerprint


class _ReadsForLabels(ToySplit):
    def labels(self) -> Tensor:
        return torch.tensor([index % 3 for index in range(self.count) if self.image(index) is not None])


@breaks("labels_read_no_image")
class DecodesForLabels(_WithSplit):
    """labels() goes through all samples, and decodes every image."""

    split_type = _ReadsForLabels


class _Locked(ToySplit):
    def __init__(self, name: str, count: int) -> None:
        super().__init__(name, count)
        self._lock = threading.Lock()


@breaks("workers_can_read_it")
class HoldsALock(_WithSplit):
    """A lock cannot be sent to a worker process."""

    split_type = _Locked


class _ForgetsItsName(ToySplit):
    def __getstate__(self) -> dict[str, object]:
        return {"name": "", "count": self.count}


@breaks("workers_can_read_it")
class ForgetsWhenPickled(_WithSplit):
    """A worker reads other images than the main process."""

    split_type = _ForgetsItsName


class _Wraps(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(index % self.count)


@breaks("index_out_of_range_is_refused")
class StartsAgain(_WithSplit):
    """After the last image the first one comes again."""

    split_type = _Wraps


class _KeyError(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image({position: position for position in range(self.count)}[index])


@breaks("index_out_of_range_is_refused")
class RaisesKeyError(_WithSplit):
    """Loops that end at IndexError, as Python's own do, never end well."""

    split_type = _KeyError


@breaks("unknown_split_is_refused")
class UnknownSplitIsTrain(ToyDataset):
    """A misspelt split gives another one."""

    def split(self, name: str) -> Split:
        return super().split(name if name in self.sizes else "train")


@breaks("unknown_split_is_refused")
class UnknownSplitIsKeyError(ToyDataset):
    """A misspelt split ends in a traceback."""

    def split(self, name: str) -> Split:
        return ToySplit(name, self.sizes[name])


class _Random(ToySplit):
    def image(self, index: int) -> Tensor:
        return super().image(index) + int(random.random() * 20)  # noqa: S311 - the fault of this fake


@breaks("random_state_is_untouched")
class AugmentsWithRandom(_WithSplit):
    """A random brightness, drawn from the standard library."""

    split_type = _Random


@breaks("random_state_is_untouched")
class SeedsNumpy(ToyDataset):
    """Seeds numpy's global state for everybody."""

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
class LooksForUpdates(_WithSplit):
    """A server is asked for the newest version each time, and silence is taken for "no news"."""

    split_type = _Online
