"""Doubts about a dataset: classes without a train image, and images that are in two splits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from probebench.api import PluginError, ProbebenchWarning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from probebench.api import Split

_NAMED = 5
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Shared:
    """Images that are in two splits.

    Attributes:
        first: Name of a split.
        second: Name of a later one.
        pairs: For each image of the second that is also in the first, its position in the first and in the second.
    """

    first: str
    second: str
    pairs: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        here, there = self.pairs[0]
        images = "image of {} is" if len(self.pairs) == 1 else "images of {} are"
        example = f"{self.second} {there} is {self.first} {here}"
        return f"{len(self.pairs):,} {images.format(self.second)} also in {self.first}: {example}"


def shared_images(splits: Mapping[str, Split]) -> list[Shared]:
    """Finds equal images in different splits, by their digests.

    Args:
        splits: In the order train, val, test. A split without digests is left out.

    Raises:
        PluginError: The digests of a split have a wrong number or length.
    """
    digests = {name: _digests(name, split) for name, split in splits.items()}
    found = []
    for (first, here), (second, there) in combinations(digests.items(), 2):
        positions = {digest: position for position, digest in reversed(list(enumerate(here)))}
        pairs = tuple((positions[digest], position) for position, digest in enumerate(there) if digest in positions)
        if pairs:
            found.append(Shared(first, second, pairs))
    return found


def warn_of_doubts(classes: Sequence[str], train: Tensor, shared: Sequence[Shared]) -> None:
    """Warns of classes that cannot be learnt, and of test or val images that are in train too.

    Args:
        classes: Names of the classes.
        train: int64 ``(N,)``, labels of the train split.
        shared: Images that are in two splits.
    """
    present = set(train.tolist())
    if empty := [name for label, name in enumerate(classes) if label not in present]:
        names = ", ".join(map(str, empty[:_NAMED])) + (", ..." if len(empty) > _NAMED else "")
        many = "class has" if len(empty) == 1 else "classes have"
        _warn(f"{len(empty)} {many} no image in train and cannot be learnt: {names}")
    for one in shared:
        _warn(f"{one}. A probe may be fitted on images that it is measured on: remove them from one split")


def _warn(message: str) -> None:
    warnings.warn(message, ProbebenchWarning, stacklevel=3)


def _digests(name: str, split: Split) -> Sequence[bytes]:
    digests = split.digests()
    if digests is None:
        return ()
    if len(digests) != len(split) or any(len(digest) != _DIGEST_BYTES for digest in digests):
        raise PluginError(
            f"the digests of {name} are not {_DIGEST_BYTES} bytes for each of {len(split)} images",
            where=f"{type(split).__name__}.digests",
        )
    return digests
