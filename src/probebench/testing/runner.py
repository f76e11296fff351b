"""Runs the checks of a component, and returns their results."""

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
_CHECK_MODULES = (features, fit, neighbours, split)  # importing them adds their checks to the lists


@dataclass(frozen=True)
class Result:
    """The result of one check.

    Attributes:
        kind: The contract of the component.
        check: Name of the check.
        status: ``passed``, ``failed``, or ``skipped`` if the check does not apply to the component.
        message: The fault and what to change, or the reason of a skip; empty if the check passed.
        seconds: Duration of the check.
    """

    kind: Contract
    check: str
    status: Status
    message: str
    seconds: float


def checks_for(kind: Contract) -> tuple[Check, ...]:
    """Returns all checks of a contract, in the order in which they run."""
    return tuple(_LISTS[kind].checks)


def run_check(subject: Subject, check: Check) -> Result:
    """Runs one check on one component. An exception of the component is a failure, and is not raised."""
    start = time.perf_counter()
    status: Status = "passed"
    message = ""
    try:
        check(subject)
    except NotApplicableError as reason:
        status, message = "skipped", str(reason)
    except AssertionError as error:
        status, message = "failed", str(error)
    except Exception as error:  # noqa: BLE001 - code of a plugin may raise anything
        status, message = "failed", _raised(error)
    return Result(check.kind, check.name, status, message, time.perf_counter() - start)


def run_checks(requested: SubjectLike) -> list[Result]:
    """Runs all checks of a component.

    Args:
        requested: A spec such as ``"ddpm:attention=false"``, or a pair such as ``("probe", MyProbe)``.

    Returns:
        One result for each check, in a fixed order.

    Raises:
        UsageError: No installed component has this name, or an option is wrong.
        PluginError: The component cannot be built.
    """
    components = subjects(requested)
    for subject in components:
        subject.build()
    return [run_check(subject, check) for subject in components for check in checks_for(subject.kind)]


def _raised(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = " ".join(str(error).split())
    return f"raised {type(error).__name__}: {what} (at {frame.filename}:{frame.lineno})"
