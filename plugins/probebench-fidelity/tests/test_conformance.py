"""The measures pass every conformance check."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks


@parametrize_with_checks(["fid", "kid:count=100,subsets=5,subset_size=50", "prc", "isc"])
def test_measures(subject, check):
    check(subject)
