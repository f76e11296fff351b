"""Compares two records image by image: the difference of their accuracies, its interval, and an exact McNemar test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api import UsageError
from probebench.records.files import read_predictions
from probebench.stats.intervals import accuracy_interval, paired_bootstrap
from probebench.stats.significance import ALPHA, mcnemar

if TYPE_CHECKING:
    from probebench.board.collect import LoadedRecord
    from probebench.records.schema import Record


@dataclass(frozen=True)
class Comparison:
    """The predictions of two records on the same test images.

    Attributes:
        both_right: Number of images that both classify correctly.
        only_a: Number of images that only A classifies correctly.
        only_b: Number of images that only B classifies correctly.
        both_wrong: Number of images that neither classifies correctly.
        low: Lower end of the 95 % interval of the difference, by paired bootstrap.
        high: Upper end.
        p: p-value of the exact two-sided McNemar test.
    """

    both_right: int
    only_a: int
    only_b: int
    both_wrong: int
    low: float
    high: float
    p: float

    @property
    def n(self) -> int:
        """Number of test images."""
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def difference(self) -> float:
        """Accuracy of A minus accuracy of B."""
        return (self.only_a - self.only_b) / self.n

    @property
    def significant(self) -> bool:
        """Whether the test finds a difference."""
        return self.p < ALPHA

    @property
    def a(self) -> tuple[float, float, float]:
        """Accuracy of A with both ends of its 95 % interval."""
        return _accuracy(self.both_right + self.only_a, self.n)

    @property
    def b(self) -> tuple[float, float, float]:
        """Accuracy of B with both ends of its 95 % interval."""
        return _accuracy(self.both_right + self.only_b, self.n)


def compare_records(a: LoadedRecord, b: LoadedRecord) -> Comparison:
    """Compares two records by their predictions for each test image.

    Args:
        a: A record that classifies images.
        b: Another, measured on the same test images.

    Raises:
        UsageError: The records were measured on different test images, or measure generated images.
        RecordError: A record has no predictions, or their file is missing or altered.
    """
    for loaded in (a, b):
        if loaded.record.generation:
            raise UsageError(
                "a record that measures generated images has no predictions to compare",
                where=str(loaded.path),
                hint="probebench leaderboard build shows such records side by side",
            )
    right_a, right_b = (read_predictions(loaded.record, loaded.path)[1] for loaded in (a, b))
    if _test_images(a.record) != _test_images(b.record):
        raise UsageError(
            "the records were not measured on the same test images",
            where=f"{a.path} and {b.path}",
            hint="compare two records of one dataset, in one version, both made without --limit",
        )
    low, high = paired_bootstrap(right_a, right_b)
    return Comparison(
        both_right=int((right_a & right_b).sum()),
        only_a=int((right_a & ~right_b).sum()),
        only_b=int((right_b & ~right_a).sum()),
        both_wrong=int((~right_a & ~right_b).sum()),
        low=low,
        high=high,
        p=mcnemar(right_a, right_b),
    )


def _test_images(record: Record) -> tuple[str | None, object]:
    part = record.parts.get("test")
    return (record.cell.dataset.fingerprints.get(part.split) if part else None, part)


def _accuracy(correct: int, n: int) -> tuple[float, float, float]:
    return (correct / n, *accuracy_interval(correct, n))
