"""The plugin's components keep every law of their contracts."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks


@parametrize_with_checks(
    ["digits", "scattered-digits:train=300,test=100", "pixels", "pixels:grid=4", "digits-classifier"],
)
def test_conformance(subject, check):
    check(subject)
