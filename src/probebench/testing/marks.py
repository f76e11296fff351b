"""The checks as pytest tests."""

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
    wanted: Iterable[SubjectLike], *, expected_failures: Mapping[str, Mapping[str, str]] | None = None
) -> pytest.MarkDecorator:
    """Makes one test per component and check.

    The decorated function takes ``subject`` and ``check``, and calls the one with the other::

        @parametrize_with_checks(["my-backbone", ("probe", MyProbe)])
        def test_conformance(subject, check):
            check(subject)

    Args:
        wanted: Specs of installed components, or pairs of kind and factory.
        expected_failures: For a component's name, the checks it is known to fail, each with the reason. Such a check
            must fail (strict xfail): once it passes, remove it from the list.

    Raises:
        UsageError: A component is not installed, or an expected failure names no component or no check of it.
        PluginError: The plugin that provides a component is broken.
    """
    import pytest

    remaining = {name: dict(reasons) for name, reasons in (expected_failures or {}).items()}
    parameters: list[Any] = []
    for subject in (found for item in wanted for found in subjects(item)):
        for check in checks_for(subject.kind):
            reason = remaining.get(subject.name, {}).pop(check.name, None)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            parameters.append(pytest.param(subject, check, marks=marks, id=f"{subject.name}-{check.name}"))
    unused = [f"{name}: {check}" for name, reasons in remaining.items() for check in reasons]
    if unused:
        raise UsageError(
            f"expected failures {unused} name no check that runs",
            where="parametrize_with_checks(expected_failures=...)",
            hint="write {component: {check: reason}} with names as `probebench check --list` prints them",
        )
    return pytest.mark.parametrize(("subject", "check"), parameters)
