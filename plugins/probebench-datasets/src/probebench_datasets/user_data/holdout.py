"""Holds out a test split from data that has none: stratified, seeded, and the same on every machine."""

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


def hold_out_test(
    names: Sequence[str], labels: NDArray[np.int64], *, seed: int, where: str
) -> dict[str, NDArray[np.int64]]:
    """Splits images into train and test, class by class.

    Which images of a class are in test depends on SHA-256 of their names and the seed alone: neither the order of a
    folder listing nor the random numbers of a library can change it. Of a class with ``n`` images, ``round(n / 5)``
    are in test, at least one and never all.

    Args:
        names: Name of each image: unique, and the same on every machine.
        labels: int64 ``(N,)``.
        seed: Another seed gives another split.
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
            "no test split can be held out, because no class has two images",
            where=where,
            hint="add images to a class, or add a test split",
        )
    if single := sum(len(members) == 1 for members in classes.values()):
        warnings.warn(
            f"classes with a single image: {single}; their image is in train, and test has none of them",
            ProbebenchWarning,
            stacklevel=3,
        )
    chosen = np.zeros(len(labels), bool)
    chosen[test] = True
    return {"train": np.flatnonzero(~chosen), "test": np.flatnonzero(chosen)}


def require_train_images(classes: Sequence[str], labels: Mapping[str, NDArray[np.int64]], *, where: str) -> None:
    """Raises an error if another split has a class without train images, and warns of classes without any image.

    Args:
        classes: Their names.
        labels: int64 ``(N,)`` of each split.
        where: The data, for errors.

    Raises:
        DataError: A class has images in another split and none in train, so no probe could learn it.
    """
    counts = {split: np.bincount(values, minlength=len(classes)) for split, values in labels.items()}
    for split, count in counts.items():
        if missing := np.flatnonzero((count > 0) & (counts["train"] == 0)).tolist():
            raise DataError(
                f"classes of {split} without an image in train: {len(missing)}, such as {classes[missing[0]]!r}",
                where=where,
                hint=f"add train images of them, or remove their images from {split}",
            )
    if empty := np.flatnonzero(counts["train"] == 0).tolist():
        warnings.warn(
            f"classes without any image: {len(empty)} of {len(classes)}, such as {classes[empty[0]]!r}",
            ProbebenchWarning,
            stacklevel=3,
        )
