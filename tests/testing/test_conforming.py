"""The correct fakes pass all checks, by the decorator that plugin authors use."""

from __future__ import annotations

import pytest

from probebench.testing import NotApplicableError, Subject, checks_for, parametrize_with_checks
from probebench.testing.broken.backbones import RefusesHalfPrecision
from probebench.testing.fakes import ToyBackbone, ToyDataset, ToyFinetuning, ToyMeasure, ToyProbe


@parametrize_with_checks(
    [
        ("backbone", ToyBackbone),
        ("dataset", ToyDataset),
        ("probe", ToyProbe),
        ("sample-probe", ToyMeasure),
        ("finetuning-probe", ToyFinetuning),
    ]
)
def test_correct_fakes_pass(subject, check):
    check(subject)


def test_a_backbone_may_refuse_bf16():
    (check,) = [check for check in checks_for("backbone") if check.name == "bf16_gives_float32"]
    with pytest.raises(NotApplicableError, match="runs in fp32 only"):
        check(Subject("backbone", "refuses", RefusesHalfPrecision))


def test_a_probe_without_neighbours_skips_their_check():
    (check,) = [check for check in checks_for("probe") if check.name == "neighbours_can_vote_again"]
    with pytest.raises(NotApplicableError, match="returns no FittedNeighbours"):
        check(Subject("probe", "means", ToyProbe))
