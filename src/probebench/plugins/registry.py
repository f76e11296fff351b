"""Names to components: finds what a spec names, validates its options, builds it."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from probebench.api.contracts import Backbone, Dataset, Probe
from probebench.api.finetuning import FinetuningProbe
from probebench.api.generation import SampleProbe
from probebench.api.options import NoOptions
from probebench.api.specs import ProbeSpec
from probebench.plugins import option_text
from probebench.plugins.discovery import Discovery, Kind, Problem, discover, kind_of
from probebench.plugins.entrypoints import SELECTION, normalise, selection
from probebench.util.errors import PluginError, ProbebenchError, UsageError, suggest
from probebench.util.spec_text import parse_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from probebench.api.options import Options
    from probebench.api.specs import Spec
    from probebench.util.spec_text import ParsedSpec

__all__ = [
    "KINDS",
    "Component",
    "Kind",
    "Registry",
    "RegistryEntry",
    "component_of",
    "consumes",
    "consumes_samples",
    "contract_of",
    "installed",
    "load_target",
    "one_of",
    "resolve",
]

KINDS: tuple[Kind, ...] = get_args(Kind)

_CONTRACTS: dict[Kind, type] = {"backbone": Backbone, "dataset": Dataset, "probe": Probe}

_CONSUMERS: dict[str, type] = {"samples": SampleProbe, "backbone": FinetuningProbe}


def contract_of(entry: RegistryEntry) -> type:
    """The class that a component of this entry derives from."""
    return _CONSUMERS.get(consumes(entry), _CONTRACTS[entry.kind])


def consumes(entry: RegistryEntry) -> str:
    """What a probe consumes; empty of a component of another kind."""
    return entry.spec.consumes if isinstance(entry.spec, ProbeSpec) else ""


def consumes_samples(entry: RegistryEntry) -> bool:
    """Whether this is a probe that measures drawn images."""
    return consumes(entry) == "samples"


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """An installed component that has not been imported.

    Attributes:
        kind: What it is.
        spec: Its card.
        distribution: Normalised name of the distribution it comes from.
        version: Version of that distribution.
        unique: Whether no other distribution has a component of this kind and name.
    """

    kind: Kind
    spec: Spec
    distribution: str
    version: str
    unique: bool = True

    @property
    def qualified(self) -> str:
        """``distribution/name``, which is never ambiguous."""
        return f"{self.distribution}/{self.spec.name}"

    @property
    def label(self) -> str:
        """The shortest name that still means this component."""
        return self.spec.name if self.unique else self.qualified

    @property
    def origin(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}"


class Registry:
    """The components of a discovery, by kind and name.

    Args:
        discovery: What `probebench.plugins.discovery.discover` found.
    """

    def __init__(self, discovery: Discovery) -> None:
        self.discovery = discovery
        found = [
            (kind_of(spec), spec, plugin.distribution, plugin.version)
            for plugin in discovery.plugins
            for spec in plugin.specs
        ]
        names = [(kind, spec.name) for kind, spec, _, _ in found]
        entries = [RegistryEntry(*item, unique=names.count((item[0], item[1].name)) == 1) for item in found]
        self._entries = sorted(entries, key=lambda entry: (entry.spec.name, entry.distribution))

    def entries(self, kind: Kind) -> tuple[RegistryEntry, ...]:
        """All components of a kind, sorted by name; those that lack a requirement are among them."""
        return tuple(entry for entry in self._entries if entry.kind == kind)

    def problem(self, entry: RegistryEntry) -> Problem | None:
        """What keeps a component from being used, if anything does."""
        return self._problem(entry.kind, entry.qualified)

    def find(self, kind: Kind, name: str) -> RegistryEntry:
        """The usable component of that name.

        Args:
            kind: What it is to be.
            name: Short name, or ``distribution/name``.

        Raises:
            UsageError: There is none, or the short name is given by several distributions.
            PluginError: There is one, and something keeps it from being used.
        """
        entry = self.look_up(kind, name)
        self._require_no_problem(kind, name, entry)
        if entry is None:
            raise self._unknown(kind, name)
        return entry

    def find_all(self, name: str) -> tuple[RegistryEntry, ...]:
        """The components of that name, one of each kind that has it, usable or not.

        Raises:
            UsageError: There is none, or the short name is given by several distributions.
            PluginError: There would be one if its plugin were not broken.
        """
        found = tuple(entry for kind in KINDS if (entry := self.look_up(kind, name)) is not None)
        if not found:
            for kind in KINDS:
                self._require_no_problem(kind, name, None)
            raise self._unknown(None, name)
        return found

    def look_up(self, kind: Kind, name: str) -> RegistryEntry | None:
        """The component of that name, usable or not; None when there is none.

        Raises:
            UsageError: The short name is given by several distributions.
        """
        matches = [entry for entry in self.entries(kind) if _means(name, entry.distribution, entry.spec.name)]
        if len(matches) > 1:
            raise UsageError(
                f"{kind} {name!r} is given by " + " and ".join(entry.origin for entry in matches),
                hint="say which: " + " or ".join(entry.qualified for entry in matches),
            )
        return matches[0] if matches else None

    def _unknown(self, kind: Kind | None, name: str) -> UsageError:
        """The error for a name that means nothing; with no kind, for one that means nothing of any kind."""
        labels = sorted({entry.label for entry in self._entries if kind in (None, entry.kind)})
        elsewhere = [entry for entry in self._entries if _means(name, entry.distribution, entry.spec.name)]
        note = f"; there is a {elsewhere[0].kind} of that name" if elsewhere else ""
        hints = [suggest(name, labels, "available") if labels else f"none is installed{_restricted()}"]
        if broken := sorted({problem.distribution for problem in self.discovery.problems}):
            hints.append(f"{', '.join(broken)} had a problem: probebench plugins doctor")
        return UsageError(f"no {kind or 'component'} {name!r}{note}", hint="; ".join(hints))

    def _require_no_problem(self, kind: Kind, name: str, entry: RegistryEntry | None) -> None:
        if problem := self._problem(kind, name if entry is None else entry.qualified):
            raise PluginError(
                f"{kind} {name!r} cannot be used: {problem.error}",
                where=problem.origin,
                hint=problem.hint or "probebench plugins doctor",
            )

    def _problem(self, kind: Kind, name: str) -> Problem | None:
        """The first problem of a component; of a qualified name, that of a plugin that could not be loaded too."""
        loaded = {plugin.distribution for plugin in self.discovery.plugins}
        for problem in self.discovery.problems:
            if problem.kind == kind and _means(name, problem.distribution, problem.name):
                return problem
            gone = problem.kind is None and problem.distribution not in loaded
            if gone and "/" in name and normalise(name.partition("/")[0]) == problem.distribution:
                return problem
        return None


@functools.cache
def installed() -> Registry:
    """The registry of what is installed, made once per process. ``installed.cache_clear()`` is for tests."""
    return Registry(discover())


@dataclass(frozen=True, slots=True)
class Component:
    """An entry with validated options: all that is needed to build it.

    Attributes:
        entry: What was asked for.
        options: How.
        inner: The probe that it wraps, if it wraps one.
    """

    entry: RegistryEntry
    options: Options
    inner: Component | None = None

    @property
    def title(self) -> str:
        """The shortest spec that means this component, such as ``ddpm:attention=false``.

        It depends on the values of the options alone, so that equal components have equal titles.
        """
        changed = option_text.changed(self.options)
        return (self.alias or self.entry.label) + (":" + ",".join(changed) if changed else "")

    @property
    def alias(self) -> str:
        """The name that its options give it; empty where they give none."""
        return str(getattr(self.options, self.options.alias)) if self.options.alias else ""

    def identity(self) -> dict[str, Any]:
        """What the component's numbers depend on, as far as the core can know; JSON values only."""
        return {
            "name": self.entry.qualified,
            "version": self.entry.spec.version,
            "options": self.options.model_dump(mode="json", exclude=self.options.excluded_fields()),
        }

    def build(self) -> object:
        """Imports the factory and calls it.

        Returns:
            A new `Backbone`, `Dataset`, `Probe` or `SampleProbe`, see `contract_of`.

        Raises:
            PluginError: The factory cannot be imported, fails, or returns something else.
            ProbebenchError: The factory raised it.
        """
        spec, contract = self.entry.spec, contract_of(self.entry)
        factory = load_target(spec.factory, where=self.entry.origin)
        try:
            built = factory(self.options, *([self.inner.build()] if self.inner else []))
        except ProbebenchError:
            raise
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self.entry.kind} {self.title} cannot be built: {type(error).__name__}: {error}",
                where=f"{spec.factory} of {self.entry.origin}",
                hint="--debug shows the traceback",
            ) from error
        if not isinstance(built, contract):
            raise PluginError(
                f"the factory of {self.entry.kind} {self.title} returns a {type(built).__name__}, "
                f"not a probebench.api.{contract.__name__}",
                where=f"{spec.factory} of {self.entry.origin}",
            )
        return built


def resolve(kind: Kind, text: str) -> Component:
    """Reads a spec such as ``ddpm:attention=false``, finds the component and validates its options.

    Args:
        kind: What it is to be.
        text: The spec.

    Raises:
        UsageError: The text is malformed, the name is unknown or ambiguous, or an option is unknown or wrong.
        PluginError: The component is there and cannot be used.
    """
    return component_of(kind, parse_spec(text))


def component_of(kind: Kind, request: ParsedSpec) -> Component:
    """What `resolve` does, of a spec that has been read.

    Raises:
        UsageError: As `resolve`.
        PluginError: As `resolve`.
    """
    entry = installed().find(kind, request.name)
    series = getattr(entry.spec, "series_options", NoOptions).model_fields
    if named := [option for option in request.options if option in series]:
        raise UsageError(
            f"{entry.label}:{named[0]}=... is a series of backbones, and one is wanted here",
            hint=f"one of those that `probebench run --backbone {entry.label}:{named[0]}=... --dry-run` lists",
        )
    component = compose(entry, option_text.validate(entry.spec.options, request.options, entry.label))
    if taken := [other.spec.name for other in installed().entries(kind) if other.spec.name == component.alias]:
        raise UsageError(
            f"{request} would be called {taken[0]!r}, which is another {kind}",
            hint=f"another name, such as {entry.label}:...,{component.options.alias}={taken[0]}-copy",
        )
    return component


def one_of(kind: Kind, can: Callable[[Any], object]) -> str:
    """The installed components that can do something, as a hint: ``one of ddpm, other``; empty if there is none.

    Args:
        kind: Of the components.
        can: What a component's card must say, such as that it names a trainer.
    """
    names = [entry.label for entry in installed().entries(kind) if can(entry.spec)]
    return f"one of {', '.join(names)}" if names else ""


def compose(entry: RegistryEntry, options: Options) -> Component:
    """A component with the one that its options name, where it wraps one.

    Raises:
        UsageError: What is to be wrapped is not known, has no such options, or wraps another itself.
        PluginError: It is there and cannot be used.
    """
    wraps = entry.spec.wraps if isinstance(entry.spec, ProbeSpec) else ""
    if not wraps:
        return Component(entry, options)
    inner = resolve("probe", str(getattr(options, wraps)))
    if inner.inner:
        raise UsageError(
            f"{entry.label} cannot wrap {inner.entry.label}, which wraps {inner.inner.entry.label}",
            hint=f"{entry.label}:{wraps}={inner.inner.entry.label}",
        )
    if consumes(inner.entry) != "features":
        raise UsageError(
            f"{entry.label} cannot wrap {inner.entry.label}, which is not fitted on features",
            where=f"option {wraps} of {entry.label}",
            hint=f"{entry.label}:{wraps}=linear",
        )
    return Component(entry, options, inner)


def load_target(target: str, *, where: str | None = None) -> Any:  # noqa: ANN401 - a plugin's attribute
    """Imports ``package.module:attribute``.

    Args:
        target: What to import.
        where: Who says so, for the error: distribution and version.

    Raises:
        PluginError: The module cannot be imported or has no such attribute.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"{target} cannot be imported: {type(error).__name__}: {error}",
            where=where,
            hint="probebench plugins doctor; --debug shows the traceback",
        ) from error


def _means(asked: str, distribution: str, name: str) -> bool:
    owner, slash, short = asked.rpartition("/")
    return short == name and (not slash or normalise(owner) == distribution)


def _restricted() -> str:
    return "" if selection() is None else f", and {SELECTION} restricts what is loaded"
