"""What is checked: an installed component named by its spec, or any factory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.api import Backbone, Dataset, FinetuningProbe, Probe, SampleProbe, UsageError
from probebench.testing.checks.contract import ConformanceError, Contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from probebench.plugins.registry import RegistryEntry

CONTRACTS: dict[Contract, type] = {
    "backbone": Backbone,
    "dataset": Dataset,
    "probe": Probe,
    "sample-probe": SampleProbe,
    "finetuning-probe": FinetuningProbe,
}


@dataclass(frozen=True)
class Subject:
    """A component under test.

    Attributes:
        kind: Which contract it claims to keep.
        name: Its name in test ids and tables.
        factory: Makes a fresh component.
    """

    kind: Contract
    name: str
    factory: Callable[[], object]

    def build(self) -> object:
        """A fresh component.

        Raises:
            ConformanceError: The factory gives something that does not derive from the contract's class.
        """
        component = self.factory()
        contract = CONTRACTS[self.kind]
        if not isinstance(component, contract):
            raise ConformanceError(
                f"the factory of {self.name} gives a {type(component).__name__}, not a {self.kind}; "
                f"derive its class from probebench.api.{contract.__name__}"
            )
        return component


SubjectLike = Subject | str | tuple[Contract, "Callable[[], object]"]
"""A spec such as ``"ddpm:attention=false"``, or a pair such as ``("probe", MyProbe)`` for what is not installed."""


def subjects(wanted: SubjectLike) -> tuple[Subject, ...]:
    """All components that somebody means: a name may stand for a dataset and a probe at once.

    Args:
        wanted: A spec text, which is looked up among the installed plugins, or a pair of kind and factory.

    Raises:
        UsageError: No installed component has this name, or an option is wrong.
        PluginError: The plugin that provides it is broken.
    """
    if isinstance(wanted, Subject):
        return (wanted,)
    if isinstance(wanted, str):
        return _installed(wanted)
    kind, factory = wanted
    if kind not in CONTRACTS:
        raise UsageError(f"no kind of component {kind!r}", hint="one of " + ", ".join(CONTRACTS))
    return (Subject(kind, getattr(factory, "__name__", type(factory).__name__), factory),)


def _installed(text: str) -> tuple[Subject, ...]:
    from probebench.plugins.registry import installed, resolve
    from probebench.util.spec_text import parse_spec

    entries = installed().find_all(parse_spec(text).name)
    return tuple(Subject(_contract(entry), text, resolve(entry.kind, text).build) for entry in entries)


def _contract(entry: RegistryEntry) -> Contract:
    from probebench.plugins.registry import consumes

    if entry.kind != "probe":
        return entry.kind
    contracts: dict[str, Contract] = {
        "features": "probe",
        "samples": "sample-probe",
        "backbone": "finetuning-probe",
    }
    return contracts[consumes(entry)]
