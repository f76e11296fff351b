"""Makes pytest tests of the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probebench.api import UsageError
from probebench.testing.runner import checks_for
from probebench.testing.subjects import subjects

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pytest

    from probebench.testing.subjects import SubjectLike


def parametrize_with_checks(
    requested: Iterable[SubjectLike], *, expected_failures: Mapping[str, Mapping[str, str]] | None = None
) -> pytest.MarkDecorator:
    """Makes one test for each component and check.

    The decorated function takes ``subject`` and ``check``, and calls the check with the subject::

        @parametrize_with_checks(["my-backbone", ("probe", MyProbe)])
        def test_conformance(subject, check):
            check(subject)

    Args:
        requested: Specs of installed components, or pairs of kind and factory.
        expected_failures: Names of components, each with the names and the reasons of the checks that it fails. The
            test fails if such a check passes (strict xfail); then remove the check from the argument.

    Raises:
        UsageError: A component is not installed, or an expected failure does not name a component and a check of it.
        PluginError: The plugin of a component cannot be loaded.
    """
    import pytest

    remaining = {name: dict(reasons) for name, reasons in (expected_failures or {}).items()}
    parameters: list[Any] = []
    for subject in (subject for item in requested for subject in subjects(item)):
        for check in checks_for(subject.kind):
            reason = remaining.get(subject.name, {}).pop(check.name, None)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            parameters.append(pytest.param(subject, check, marks=marks, id=f"{subject.name}-{check.name}"))
    unused = [f"{name}: {check}" for name, reasons in remaining.items() for check in reasons]
    if unused:
        raise UsageError(
            f"expected failures {unused} do not name a check of these components",
            where="parametrize_with_checks(expected_failures=...)",
            hint="write {component: {check: reason}} with names as `probebench check --list` prints them",
        )
    return pytest.mark.parametrize(("subject", "check"), parameters)
