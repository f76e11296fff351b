"""The bundled datasets pass all conformance checks."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks


@parametrize_with_checks(["digits", "scattered-digits:train=300,test=100"])
def test_conformance(subject, check):
    check(subject)
