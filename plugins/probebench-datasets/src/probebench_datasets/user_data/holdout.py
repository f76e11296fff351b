"""A test part for data that has none: stratified, seeded, and the same on every machine."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from probebench.api import DataError, ProbebenchWarning, hash63

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

TEST_SHARE: Final = 0.2


def set_aside(
    names: Sequence[str], labels: NDArray[np.int64], *, seed: int, where: str
) -> dict[str, NDArray[np.int64]]:
    """Divides images into a train and a test part, class by class.

    Which images of a class are in test depends on their names and the seed through SHA-256 alone: neither the order in
    which a folder is listed nor a library's random numbers can move one. A class with ``n`` images has
    ``round(n / 5)`` of them in test, one at least, and never all.

    Args:
        names: Name of each image: the same on every machine, and unique.
        labels: int64 ``(N,)``.
        seed: Another seed gives another division.
        where: The data, for errors.

    Returns:
        Positions of the images of ``train`` and ``test``: int64, ascending.

    Raises:
        DataError: No class has two images.
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels.tolist()):
        classes[label].append(position)
    test: list[int] = []
    for members in classes.values():
        count = min(max(round(TEST_SHARE * len(members)), 1), len(members) - 1)
        test += sorted(members, key=lambda position: hash63("test", seed, names[position]))[:count]
    if not test:
        raise DataError(
            "no test part can be set aside: no class has two images", where=where, hint="add images, or a test split"
        )
    if alone := sum(len(members) == 1 for members in classes.values()):
        warnings.warn(
            f"{alone} classes have a single image, which is in train: test says nothing of them",
            ProbebenchWarning,
            stacklevel=3,
        )
    chosen = np.zeros(len(labels), bool)
    chosen[test] = True
    return {"train": np.flatnonzero(~chosen), "test": np.flatnonzero(chosen)}


def require_trained(classes: Sequence[str], labels: Mapping[str, NDArray[np.int64]], *, where: str) -> None:
    """Raises an error if another split has a class that train has not, and warns of classes that nobody has.

    Args:
        classes: Their names.
        labels: int64 ``(N,)`` of each split.
        where: The data, for errors.

    Raises:
        DataError: No probe could learn a class that it is measured on.
    """
    counts = {split: np.bincount(values, minlength=len(classes)) for split, values in labels.items()}
    for split, count in counts.items():
        if missing := np.flatnonzero((count > 0) & (counts["train"] == 0)).tolist():
            raise DataError(
                f"{len(missing)} classes of {split} have no image in train, such as {classes[missing[0]]!r}",
                where=where,
                hint=f"add train images of them, or remove them from {split}",
            )
    if absent := np.flatnonzero(counts["train"] == 0).tolist():
        warnings.warn(
            f"{len(absent)} of {len(classes)} classes have no image, such as {classes[absent[0]]!r}",
            ProbebenchWarning,
            stacklevel=3,
        )
