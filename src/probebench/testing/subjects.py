"""The components to check: installed components named by a spec, or any factory."""

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
        kind: The contract of the component.
        name: Name in test ids and tables.
        factory: Returns a new component.
    """

    kind: Contract
    name: str
    factory: Callable[[], object]

    def build(self) -> object:
        """Builds a new component.

        Raises:
            ConformanceError: The component does not derive from the class of the contract.
        """
        component = self.factory()
        contract = CONTRACTS[self.kind]
        if not isinstance(component, contract):
            raise ConformanceError(
                f"the factory of {self.name} returns a {type(component).__name__}, not a {self.kind}; "
                f"derive its class from probebench.api.{contract.__name__}"
            )
        return component


SubjectLike = Subject | str | tuple[Contract, "Callable[[], object]"]
"""A spec such as ``"ddpm:attention=false"``, or for a component that is not installed a pair ``("probe", MyProbe)``."""


def subjects(requested: SubjectLike) -> tuple[Subject, ...]:
    """Returns all components with a name, which may be that of a dataset and of a probe.

    Args:
        requested: A spec, which is looked up in the installed plugins, or a pair of kind and factory.

    Raises:
        UsageError: No installed component has this name, or an option is wrong.
        PluginError: The plugin of the component cannot be loaded.
    """
    if isinstance(requested, Subject):
        return (requested,)
    if isinstance(requested, str):
        return _installed(requested)
    kind, factory = requested
    if kind not in CONTRACTS:
        raise UsageError(f"{kind!r} is not a kind of component", hint="one of " + ", ".join(CONTRACTS))
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
