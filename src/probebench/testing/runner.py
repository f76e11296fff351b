"""Runs the checks of a component, and reports each."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probebench.testing.checks import features, fit, neighbours, split
from probebench.testing.checks.backbone import backbone_check
from probebench.testing.checks.contract import Check, CheckList, Contract, NotApplicableError
from probebench.testing.checks.dataset import dataset_check
from probebench.testing.checks.finetuning import finetuning_check
from probebench.testing.checks.measure import measure_check
from probebench.testing.checks.probe import probe_check
from probebench.testing.subjects import SubjectLike, subjects

if TYPE_CHECKING:
    from probebench.testing.subjects import Subject

Status = Literal["passed", "failed", "skipped"]

_LISTS: dict[Contract, CheckList] = {
    "backbone": backbone_check,
    "dataset": dataset_check,
    "probe": probe_check,
    "sample-probe": measure_check,
    "finetuning-probe": finetuning_check,
}
_WRITTEN_IN = (
    features,
    fit,
    neighbours,
    split,
)  # importing them puts their checks on the lists


@dataclass(frozen=True)
class Result:
    """How one check went.

    Attributes:
        kind: Which contract was checked.
        check: Name of the check.
        status: ``passed``, ``failed``, or ``skipped`` when there was nothing to look at.
        message: What is wrong and what to do, or why the check was skipped; empty when it passed.
        seconds: How long it took.
    """

    kind: Contract
    check: str
    status: Status
    message: str
    seconds: float


def checks_for(kind: Contract) -> tuple[Check, ...]:
    """All checks of a contract, in the order in which they run."""
    return tuple(_LISTS[kind].checks)


def run_check(subject: Subject, check: Check) -> Result:
    """Runs one check on one component. Whatever the component raises is a failure, not an error."""
    start = time.perf_counter()
    status: Status = "passed"
    message = ""
    try:
        check(subject)
    except NotApplicableError as reason:
        status, message = "skipped", str(reason)
    except AssertionError as error:
        status, message = "failed", str(error)
    except Exception as error:  # noqa: BLE001 - the component is foreign code
        status, message = "failed", _raised(error)
    return Result(check.kind, check.name, status, message, time.perf_counter() - start)


def run_checks(wanted: SubjectLike) -> list[Result]:
    """Runs all checks of a component.

    Args:
        wanted: A spec such as ``"ddpm:attention=false"``, or a pair such as ``("probe", MyProbe)``.

    Returns:
        One result per check, in a fixed order.

    Raises:
        UsageError: No installed component has this name, or an option is wrong.
        PluginError: The component cannot be built.
    """
    found = subjects(wanted)
    for subject in found:
        subject.build()
    return [run_check(subject, check) for subject in found for check in checks_for(subject.kind)]


def _raised(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(str(error).split())
    return f"raised {type(error).__name__}: {what} (at {frame.filename}:{frame.lineno})"
