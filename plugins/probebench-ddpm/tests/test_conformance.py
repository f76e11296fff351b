"""The laws of the contract, for each network and noise policy."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks

TINY = "ddpm:checkpoint=none,widths=8+8+8+8"


@parametrize_with_checks(
    [TINY, f"{TINY},attention=false", f"{TINY},noise=shared", f"{TINY},noise=mean,draws=2", f"{TINY},noise=none"]
)
def test_conformance(subject, check):
    check(subject)
