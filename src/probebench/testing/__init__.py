"""The conformance kit: one check for each requirement of the contracts.

In the tests of a plugin::

    from probebench.testing import parametrize_with_checks

    @parametrize_with_checks(["my-backbone", "my-dataset", "my-probe"])
    def test_conformance(subject, check):
        check(subject)

On the command line, the same checks: ``probebench check my-backbone``.
"""

from probebench.testing.checks.contract import Check, ConformanceError, NotApplicableError
from probebench.testing.marks import parametrize_with_checks
from probebench.testing.runner import Result, checks_for, run_check, run_checks
from probebench.testing.subjects import CONTRACTS, Subject, SubjectLike, subjects

__all__ = [
    "CONTRACTS",
    "Check",
    "ConformanceError",
    "NotApplicableError",
    "Result",
    "Subject",
    "SubjectLike",
    "checks_for",
    "parametrize_with_checks",
    "run_check",
    "run_checks",
    "subjects",
]
