"""Datasets whose digests or splits without labels break a requirement."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, ClassVar

from probebench.testing.broken.catalogue import breaks
from probebench.testing.fakes import ToyDataset, ToySplit

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Split

_built = itertools.count()


class _WithSplit(ToyDataset):
    split_type: ClassVar[type[ToySplit]]

    def split(self, name: str) -> Split:
        good = super().split(name)
        return self.split_type(name, len(good))


class _Hexadecimal(ToySplit):
    def digests(self) -> list[bytes]:
        return [
            hashlib.md5(self.image(i).numpy().tobytes(), usedforsecurity=False).hexdigest().encode()
            for i in range(len(self))
        ]


@breaks("digests_match_the_images")
class HexadecimalDigests(_WithSplit):
    """Returns digests in hexadecimal, which are not 16 bytes."""

    split_type = _Hexadecimal


class _Corner(ToySplit):
    def digests(self) -> list[bytes]:
        return [bytes([int(self.image(i)[0, 0, 0]) // 128] * 16) for i in range(len(self))]


@breaks("digests_match_the_images")
class DigestOfOnePixel(_WithSplit):
    """Computes digests from one pixel, so that different images have the same digest."""

    split_type = _Corner


class _Salted(ToySplit):
    def digests(self) -> list[bytes]:
        salt = next(_built)
        return [hashlib.blake2b(f"{salt} {i}".encode(), digest_size=16).digest() for i in range(len(self))]


@breaks("digests_match_the_images")
class DigestPerBuild(_WithSplit):
    """Returns digests that change with every build, as those of Python's hash() do."""

    split_type = _Salted


class _Repeated(ToySplit):
    """The first and the last image are equal, and digests depend on the position."""

    def image(self, index: int) -> Tensor:
        return super().image(0 if index == len(self) - 1 else index)

    def digests(self) -> list[bytes]:
        return [hashlib.blake2b(bytes([i]), digest_size=16).digest() for i in range(len(self))]


@breaks("digests_match_the_images")
class DigestsOfPositions(_WithSplit):
    """Computes digests from positions, so that equal images have different digests."""

    split_type = _Repeated


class _WithUnlabeled(ToyDataset):
    unlabeled = ("rest",)
    rest: ClassVar[type[ToySplit]] = ToySplit

    def split(self, name: str) -> Split:
        return self.rest("train", 10) if name == "rest" else super().split(name)


@breaks("unlabeled_images_have_no_labels")
class LabelsOfUnlabeledImages(_WithUnlabeled):
    """Returns labels of images that have no labels."""


class _NotImplemented(ToySplit):
    def labels(self) -> Tensor:
        raise NotImplementedError


@breaks("unlabeled_images_have_no_labels")
class NotImplementedLabels(_WithUnlabeled):
    """Raises NotImplementedError for labels, which has no message for the user."""

    rest = _NotImplemented


@breaks("unlabeled_images_have_no_labels")
class UnlabeledIsASplit(ToyDataset):
    """Declares a split both with and without labels."""

    unlabeled = ("train",)
