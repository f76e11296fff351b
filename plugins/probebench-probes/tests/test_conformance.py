"""The plugin's probes keep every law of their contract."""

from __future__ import annotations

from probebench.testing import parametrize_with_checks


@parametrize_with_checks(
    [
        "knn",
        "knn:distance=euclidean,vote=uniform",
        "linear",
        "linear:inputs=raw,schedule=constant",
        "logreg",
        "logreg:inputs=raw",
        "ridge",
        "ridge:inputs=raw",
    ]
)
def test_conformance(subject, check):
    check(subject)
