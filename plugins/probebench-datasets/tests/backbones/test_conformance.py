"""The backbones of this plugin pass all conformance checks."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks


@parametrize_with_checks(["pixels", "pixels:grid=4", "digits-classifier"])
def test_conformance(subject, check):
    check(subject)
