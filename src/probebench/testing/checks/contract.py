"""What a conformance check is, and how it speaks to the author of a component."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from unittest import SkipTest

if TYPE_CHECKING:
    from probebench.testing.subjects import Subject

Contract = Literal["backbone", "dataset", "probe", "sample-probe", "finetuning-probe"]
"""The kinds of components, of which probes have three: those that read features, that measure drawn images, and that
train the backbone."""

Component = TypeVar("Component")
Build = Callable[[], Component]
"""Makes a fresh component, so that no check meets what another one left behind."""


class ConformanceError(AssertionError):
    """A component breaks a law of its contract. The message says which, and what to do."""


class NotApplicableError(SkipTest):
    """A check has nothing to look at in this component. The message says why; pytest reports the test as skipped."""


def demand(holds: bool, what: str, *, hint: str) -> None:
    """Raises a `ConformanceError` unless the condition holds.

    Args:
        holds: The condition.
        what: What is wrong when it does not hold.
        hint: What the author can do about it.
    """
    if not holds:
        raise ConformanceError(f"{what}; {hint}")


@dataclass(frozen=True)
class Check:
    """One law of a contract.

    Attributes:
        kind: Which contract it belongs to.
        name: Its name in test ids and tables.
        law: The law in one sentence.
        function: Raises `ConformanceError` when the law is broken, and `NotApplicableError` when there is nothing
            to look at.
    """

    kind: Contract
    name: str
    law: str
    function: Callable[[Build[Any]], None]

    def __call__(self, subject: Subject) -> None:
        """Runs the check.

        Raises:
            ConformanceError: The law is broken.
            NotApplicableError: There is nothing to look at.
        """
        self.function(subject.build)


class CheckList:
    """The checks of one contract, in the order in which they are written.

    A function decorated with the list is on it: there is no second place in which a check could be forgotten.
    """

    def __init__(self, kind: Contract) -> None:
        self.kind = kind
        self.checks: list[Check] = []

    def __call__(self, function: Callable[[Build[Any]], None]) -> Callable[[Build[Any]], None]:
        """Puts a function on the list; its docstring is the law."""
        law = " ".join((function.__doc__ or "").split())
        self.checks.append(Check(self.kind, function.__name__, law, function))
        return function
