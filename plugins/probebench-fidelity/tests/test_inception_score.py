"""The Inception score of predictions whose score is known."""

from __future__ import annotations

import pytest
import torch

from probebench.api import UsageError
from probebench_fidelity.inception_score import InceptionScore
from probebench_fidelity.options import ISCOptions


def test_confident_and_diverse_predictions_score_the_number_of_classes(features):
    logits = torch.eye(5).repeat(40, 1) * 100
    [(name, found)] = InceptionScore(ISCOptions(splits=1)).measure(features(logits), features(logits)).items()
    assert (name, found.higher_is_better) == ("isc", True)
    assert found.value == pytest.approx(5, rel=1e-6)
    undecided = torch.zeros(200, 5)
    assert InceptionScore(ISCOptions()).measure(features(undecided), features(undecided))["isc"].value == pytest.approx(
        1
    )


def test_too_few_images(features):
    with pytest.raises(UsageError) as caught:
        InceptionScore(ISCOptions()).measure(features(torch.randn(9, 4)), features(torch.randn(60, 4)))
    assert str(caught.value).splitlines() == [
        "9 images cannot be divided into 10 parts",
        "  in: option splits of isc",
        "  try: isc:count=2000 for more images, or isc:splits=9",
    ]
