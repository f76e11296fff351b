"""Finds the component that a spec names, validates its options, and builds it."""

from __future__ import annotations

import functools
import importlib
import os
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
    """Returns the base class of the components of an entry."""
    return _CONSUMERS.get(consumes(entry), _CONTRACTS[entry.kind])


def consumes(entry: RegistryEntry) -> str:
    """Returns what a probe consumes; empty for a component of another kind."""
    return entry.spec.consumes if isinstance(entry.spec, ProbeSpec) else ""


def consumes_samples(entry: RegistryEntry) -> bool:
    """Returns whether an entry is a probe that measures generated images."""
    return consumes(entry) == "samples"


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """An installed component that has not been imported.

    Attributes:
        kind: Backbone, dataset or probe.
        spec: Its spec.
        distribution: Normalised name of its distribution.
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
        """The shortest unique name of this component."""
        return self.spec.name if self.unique else self.qualified

    @property
    def origin(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}"


class Registry:
    """The components of a discovery, by kind and name.

    Args:
        discovery: Result of `probebench.plugins.discovery.discover`.
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
        """Returns all components of a kind, sorted by name, including those without their requirements."""
        return tuple(entry for entry in self._entries if entry.kind == kind)

    def problem(self, entry: RegistryEntry) -> Problem | None:
        """Returns the problem that prevents the use of a component; None if there is none."""
        return self._problem(entry.kind, entry.qualified)

    def find(self, kind: Kind, name: str) -> RegistryEntry:
        """Returns the usable component with a name.

        Args:
            kind: Kind of the component.
            name: Short name, or ``distribution/name``.

        Raises:
            UsageError: No component has this name, or several distributions have one.
            PluginError: The component cannot be used.
        """
        entry = self.look_up(kind, name)
        self._require_no_problem(kind, name, entry)
        if entry is None:
            raise self._unknown(kind, name)
        return entry

    def find_all(self, name: str) -> tuple[RegistryEntry, ...]:
        """Returns the components with a name, at most one of each kind, usable or not.

        Raises:
            UsageError: No component has this name, or several distributions have one.
            PluginError: The plugin of the component cannot be loaded.
        """
        found = tuple(entry for kind in KINDS if (entry := self.look_up(kind, name)) is not None)
        if not found:
            for kind in KINDS:
                self._require_no_problem(kind, name, None)
            raise self._unknown(None, name)
        return found

    def look_up(self, kind: Kind, name: str) -> RegistryEntry | None:
        """Returns the component with a name, usable or not; None if there is none.

        Raises:
            UsageError: Several distributions have a component with this name.
        """
        matches = [entry for entry in self.entries(kind) if _matches(name, entry.distribution, entry.spec.name)]
        if len(matches) > 1:
            raise UsageError(
                f"several distributions have a {kind} called {name!r}: "
                + " and ".join(entry.origin for entry in matches),
                hint="write " + " or ".join(entry.qualified for entry in matches),
            )
        return matches[0] if matches else None

    def _unknown(self, kind: Kind | None, name: str) -> UsageError:
        """Returns the error for a name that no component has, of a kind or, without a kind, of any kind."""
        entries = [entry for entry in self._entries if kind in (None, entry.kind)]
        elsewhere = [entry for entry in self._entries if _matches(name, entry.distribution, entry.spec.name)]
        note = f", but a {elsewhere[0].kind} is" if elsewhere else ""
        hints = [suggest(name, sorted({entry.label for entry in entries}), "available") or _install_one(kind)]
        if "/" in name and os.path.exists(name):  # noqa: PTH110 - pathlib raises for a name that is too long
            located = [f"{entry.label}:path={name}" for entry in entries if "path" in entry.spec.options.locations]
            hints = [f"for images in a folder or file write {' or '.join(located)}"] if located else hints
        if broken := sorted({problem.distribution for problem in self.discovery.problems}):
            hints.append(f"for the problems of {', '.join(broken)} run: probebench plugins doctor")
        return UsageError(f"no {kind or 'component'} is called {name!r}{note}", hint="; ".join(hints))

    def _require_no_problem(self, kind: Kind, name: str, entry: RegistryEntry | None) -> None:
        if problem := self._problem(kind, name if entry is None else entry.qualified):
            raise PluginError(
                f"{kind} {name!r} cannot be used: {problem.error}",
                where=problem.origin,
                hint=problem.hint or "probebench plugins doctor",
            )

    def _problem(self, kind: Kind, name: str) -> Problem | None:
        """Returns the first problem of a component; for a qualified name, also one of a plugin that is not loaded."""
        loaded = {plugin.distribution for plugin in self.discovery.plugins}
        for problem in self.discovery.problems:
            if problem.kind == kind and _matches(name, problem.distribution, problem.name):
                return problem
            failed = problem.kind is None and problem.distribution not in loaded
            if failed and "/" in name and normalise(name.partition("/")[0]) == problem.distribution:
                return problem
        return None


@functools.cache
def installed() -> Registry:
    """Returns the registry of the installed components, built once per process; tests clear its cache."""
    return Registry(discover())


@dataclass(frozen=True)
class Component:
    """An entry with validated options, ready to be built.

    Attributes:
        entry: The entry.
        options: Its options.
        inner: The probe that it wraps; None if it wraps none.
    """

    entry: RegistryEntry
    options: Options
    inner: Component | None = None

    @functools.cached_property
    def title(self) -> str:
        """The shortest spec of this component, such as ``ddpm:attention=false``.

        It depends only on the values of the options, so equal components have equal titles.
        """
        changed = option_text.changed(self.options)
        return (self.alias or self.entry.label) + (":" + ",".join(changed) if changed else "")

    @functools.cached_property
    def alias(self) -> str:
        """The name that its options define; empty if they define none."""
        return str(getattr(self.options, self.options.alias)) if self.options.alias else ""

    def identity(self) -> dict[str, Any]:
        """Returns what the results of the component depend on, as far as the core knows it, as JSON values."""
        return dict(self._identity)

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
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
                hint="run again with --debug for the traceback",
            ) from error
        if not isinstance(built, contract):
            raise PluginError(
                f"the factory of {self.entry.kind} {self.title} returns a {type(built).__name__}, "
                f"not a probebench.api.{contract.__name__}",
                where=f"{spec.factory} of {self.entry.origin}",
                hint=f"return an object of a class that derives from {contract.__name__}",
            )
        return built


def resolve(kind: Kind, text: str) -> Component:
    """Parses a spec such as ``ddpm:attention=false``, finds the component and validates its options.

    Args:
        kind: Kind of the component.
        text: The spec.

    Raises:
        UsageError: The text is malformed, the name is unknown or ambiguous, or an option is unknown or wrong.
        PluginError: The component cannot be used.
    """
    return component_of(kind, parse_spec(text))


def component_of(kind: Kind, spec: ParsedSpec) -> Component:
    """Does the same as `resolve` for a parsed spec.

    Raises:
        UsageError: As `resolve`.
        PluginError: As `resolve`.
    """
    entry = installed().find(kind, spec.name)
    series = getattr(entry.spec, "series_options", NoOptions).model_fields
    if named := [option for option in spec.options if option in series]:
        raise UsageError(
            f"{entry.label}:{named[0]}=... is a series of backbones, but one backbone is needed here",
            hint=f"use one of those that `probebench run --backbone {entry.label}:{named[0]}=... --dry-run` lists",
        )
    component = compose(entry, option_text.validate(entry.spec.options, spec.options, entry.label))
    if taken := [other.spec.name for other in installed().entries(kind) if other.spec.name == component.alias]:
        raise UsageError(
            f"{spec} would be called {taken[0]!r}, which is the name of another {kind}",
            hint=f"choose another name, such as {entry.label}:...,{component.options.alias}={taken[0]}-copy",
        )
    return component


def one_of(kind: Kind, can: Callable[[Any], object]) -> str:
    """Returns a hint that names the installed components of a kind: ``one of ddpm, other``; empty if there are none.

    Args:
        kind: Kind of the components.
        can: Returns for a spec whether the component is named, such as whether it has a trainer.
    """
    names = [entry.label for entry in installed().entries(kind) if can(entry.spec)]
    return f"one of {', '.join(names)}" if names else ""


def compose(entry: RegistryEntry, options: Options) -> Component:
    """Returns a component, together with the probe that its options name if it wraps one.

    Raises:
        UsageError: The wrapped probe is unknown, has no such options, or wraps another probe.
        PluginError: The wrapped probe cannot be used.
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
        target: The module and its attribute.
        where: Distribution and version that name the target, for the error.

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
            hint="run again with --debug for the traceback, or run: probebench plugins doctor",
        ) from error


def _matches(requested: str, distribution: str, name: str) -> bool:
    owner, slash, short = requested.rpartition("/")
    return short == name and (not slash or normalise(owner) == distribution)


def _install_one(kind: Kind | None) -> str:
    hint = f"install a plugin with a {kind or 'component'}"
    return hint if selection() is None else f"{hint}, or unset {SELECTION}, which restricts the loaded plugins"
