"""Precision and recall against plain loops."""

from __future__ import annotations

import pytest
import torch

from probebench.api import UsageError
from probebench_fidelity.options import PRCOptions
from probebench_fidelity.precision_recall import PrecisionRecall


def test_precision_and_recall_by_loops(features):
    generator = torch.Generator().manual_seed(2)
    generated, real = torch.randn(30, 2, generator=generator), torch.randn(40, 2, generator=generator) * 2

    def covered(points, centres, k):
        hits = 0
        radii = [sorted(float((c - other).norm()) for other in centres)[k] for c in centres]
        for point in points:
            hits += any(float((point - c).norm()) <= r for c, r in zip(centres, radii, strict=True))
        return hits / len(points)

    found = PrecisionRecall(PRCOptions(neighbours=2)).measure(features(generated), features(real))
    precision, recall = covered(generated, real, 2), covered(real, generated, 2)
    assert found["precision"].value == pytest.approx(precision)
    assert found["recall"].value == pytest.approx(recall)
    assert found["f-score"].value == pytest.approx(2 * precision * recall / (precision + recall))
    assert all(one.higher_is_better for one in found.values())


def test_too_few_images(features):
    with pytest.raises(UsageError) as caught:
        PrecisionRecall(PRCOptions()).measure(features(torch.randn(3, 4)), features(torch.randn(60, 4)))
    assert str(caught.value).splitlines() == [
        "3 images do not have 3 neighbours each",
        "  in: option neighbours of prc",
        "  try: prc:count=2000 for more images, or a smaller value of neighbours",
    ]
