"""Every check fails for at least one broken component."""

from __future__ import annotations

import pytest

from probebench.testing import CONTRACTS, checks_for, run_check
from probebench.testing.broken.catalogue import broken_fakes

FAKES = broken_fakes()

CRASHES = {"FixedNumberOfNeighbours", "NeedsTwoImages", "AlwaysTopThree"}
"""Components whose fault is an exception. For all others the message must describe the fault."""


@pytest.mark.parametrize(
    ("name", "subject"), FAKES, ids=[f"{subject.kind}-{name}-{subject.name}" for name, subject in FAKES]
)
def test_the_check_finds_the_fault(name, subject):
    (check,) = [check for check in checks_for(subject.kind) if check.name == name]
    result = run_check(subject, check)
    assert result.status == "failed"
    assert result.message.startswith("raised ") == (subject.name in CRASHES)
    assert "; " in result.message or subject.name in CRASHES  # the fault, and what to change
    assert subject.factory.__doc__


def test_every_check_has_a_broken_fake():
    caught = {(subject.kind, name) for name, subject in FAKES}
    assert caught == {(kind, check.name) for kind in CONTRACTS for check in checks_for(kind)}
