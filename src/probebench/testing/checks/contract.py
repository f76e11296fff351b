"""Conformance checks, and their errors for the author of a component."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from unittest import SkipTest

if TYPE_CHECKING:
    from probebench.testing.subjects import Subject

Contract = Literal["backbone", "dataset", "probe", "sample-probe", "finetuning-probe"]
"""The kinds of components. There are three kinds of probes: they read features, measure generated images, or fine-tune
the backbone."""

Component = TypeVar("Component")
Build = Callable[[], Component]
"""Returns a new component, so that no check depends on the state after another check."""


class ConformanceError(AssertionError):
    """Raised when a component breaks a requirement of its contract. The message states the fault and what to change."""


class NotApplicableError(SkipTest):
    """Raised when a check does not apply to a component. The message states why, and pytest skips the test."""


def require(holds: bool, what: str, *, hint: str) -> None:
    """Raises a `ConformanceError` unless the condition holds.

    Args:
        holds: The condition.
        what: The fault if the condition does not hold.
        hint: What the author of the component can change.
    """
    if not holds:
        raise ConformanceError(f"{what}; {hint}")


@dataclass(frozen=True)
class Check:
    """The check of one requirement of a contract.

    Attributes:
        kind: The contract.
        name: Name in test ids and tables.
        requirement: The requirement in one sentence.
        function: Raises `ConformanceError` if the requirement is broken, and `NotApplicableError` if it does not apply.
    """

    kind: Contract
    name: str
    requirement: str
    function: Callable[[Build[Any]], None]

    def __call__(self, subject: Subject) -> None:
        """Runs the check.

        Raises:
            ConformanceError: The component breaks the requirement.
            NotApplicableError: The check does not apply to the component.
        """
        self.function(subject.build)


class CheckList:
    """The checks of one contract, in the order of their definitions.

    The list is the decorator that adds a check to it, so that no check can be missing from the list.
    """

    def __init__(self, kind: Contract) -> None:
        self.kind = kind
        self.checks: list[Check] = []

    def __call__(self, function: Callable[[Build[Any]], None]) -> Callable[[Build[Any]], None]:
        """Adds a check; the docstring of the function is the requirement."""
        requirement = " ".join((function.__doc__ or "").split())
        self.checks.append(Check(self.kind, function.__name__, requirement, function))
        return function
