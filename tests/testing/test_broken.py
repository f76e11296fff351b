"""Every check catches the fault it is there for; a check that nothing can fail is no check."""

from __future__ import annotations

import pytest

from probebench.testing import CONTRACTS, checks_for, run_check
from probebench.testing.broken.catalogue import broken_fakes

FAKES = broken_fakes()

CRASHES = {"FixedNumberOfNeighbours", "NeedsTwoImages", "AlwaysTopThree"}
"""Fakes whose fault is that they raise something. All others must be told what their fault is."""


@pytest.mark.parametrize(
    ("name", "subject"), FAKES, ids=[f"{subject.kind}-{name}-{subject.name}" for name, subject in FAKES]
)
def test_the_check_catches_the_fault(name, subject):
    (check,) = [check for check in checks_for(subject.kind) if check.name == name]
    result = run_check(subject, check)
    assert result.status == "failed"
    assert result.message.startswith("raised ") == (subject.name in CRASHES)
    assert "; " in result.message or subject.name in CRASHES  # what is wrong; what to do
    assert subject.factory.__doc__


def test_every_check_has_a_broken_fake():
    caught = {(subject.kind, name) for name, subject in FAKES}
    assert caught == {(kind, check.name) for kind in CONTRACTS for check in checks_for(kind)}
