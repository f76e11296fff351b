"""Loading one entry point: whatever its code does, the result is a `Plugin`, a list of `Problem`, or both."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import pluggy

from probebench.api import hooks
from probebench.api.hooks import API_VERSION
from probebench.api.specs import BackboneSpec, DatasetSpec, ProbeSpec, ProtocolSpec, Spec
from probebench.plugins import requirements
from probebench.util.errors import suggest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from probebench.plugins.entrypoints import Found

Result = TypeVar("Result")
Kind = Literal["backbone", "dataset", "probe"]
Stage = Literal["metadata", "selection", "import", "api", "hooks", "spec", "collision", "requires"]

HEAVY = ("diffusers", "scipy", "sklearn", "timm", "torch", "torchvision", "transformers")
"""Modules that cost a second or so to import: an entry point that brings one slows every command."""

_HOOKS: dict[str, type[Spec | ProtocolSpec]] = {
    "probebench_backbones": BackboneSpec,
    "probebench_datasets": DatasetSpec,
    "probebench_probes": ProbeSpec,
    "probebench_protocols": ProtocolSpec,
}
_KINDS: dict[type[Spec], Kind] = {BackboneSpec: "backbone", DatasetSpec: "dataset", ProbeSpec: "probe"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """An entry point that was loaded.

    Attributes:
        entry_point: Its name.
        module: The light module it names.
        distribution: Normalised name of the distribution it belongs to.
        version: Version of that distribution.
        api: The module's ``PROBEBENCH_API``.
        specs: The components it yields.
        import_seconds: What its import took in this process.
        heavy: Those of `HEAVY` that its import brought into this process. A module that was there before is not
            counted; `probebench.plugins.import_cost` measures in a fresh process.
        protocols: The protocols it yields.
    """

    entry_point: str
    module: str
    distribution: str
    version: str
    api: int
    specs: tuple[Spec, ...]
    import_seconds: float
    heavy: tuple[str, ...]
    protocols: tuple[ProtocolSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that is wrong with a plugin.

    Attributes:
        entry_point: Its name; empty when the whole distribution is meant.
        distribution: Normalised name of the distribution.
        version: Version of the distribution.
        stage: How far it got.
        error: What is wrong, in one line.
        hint: What to do about it; may be empty.
        kind: Kind of the one component that is affected, if it is only one.
        name: Short name of that component.
    """

    entry_point: str
    distribution: str
    version: str
    stage: Stage
    error: str
    hint: str = ""
    kind: Kind | None = None
    name: str = ""

    @property
    def origin(self) -> str:
        """Distribution, version and entry point, as far as they are known; for messages."""
        owner = f"{self.distribution} {self.version}".strip()
        return f"{owner}, entry point {self.entry_point!r}" if self.entry_point else owner


def kind_of(spec: Spec) -> Kind:
    """The kind of component that a spec describes."""
    return next(kind for expected, kind in _KINDS.items() if isinstance(spec, expected))


class Loading:
    """One entry point on its way in.

    Args:
        found: The distribution.
        name: Name of the entry point.
        target: Its value: the module.
        given: What is there already, by kind, distribution and name, and the entry point that gave it; extended.
    """

    def __init__(self, found: Found, name: str, target: str, given: dict[tuple[str, str, str], str]) -> None:
        self.found, self.name, self.target, self.given = found, name, target, given
        self.problems: list[Problem] = []

    def load(self) -> Plugin | None:
        """Goes through all stages; None when the module cannot be used at all."""
        loaded, started = set(sys.modules), time.perf_counter()
        module, error = _attempt(functools.partial(_import, self.target))
        seconds = time.perf_counter() - started
        if module is None:
            self._report("import", _describe(error), reinstall(self.found.distribution))
            return None
        if not self._speaks_our_api(module):
            return None
        cards = self._cards(module)
        return Plugin(
            entry_point=self.name,
            module=self.target,
            distribution=self.found.distribution,
            version=self.found.version,
            api=API_VERSION,
            specs=tuple(card for card in cards if isinstance(card, Spec) and self._admits(card)),
            protocols=tuple(card for card in cards if isinstance(card, ProtocolSpec) and self._is_new(card)),
            import_seconds=seconds,
            heavy=tuple(name for name in HEAVY if name in sys.modules and name not in loaded),
        )

    def _report(self, stage: Stage, error: str, hint: str = "", spec: Spec | None = None) -> None:
        self.problems.append(
            Problem(
                entry_point=self.name,
                distribution=self.found.distribution,
                version=self.found.version,
                stage=stage,
                error=error,
                hint=hint,
                kind=None if spec is None else kind_of(spec),
                name="" if spec is None else spec.name,
            )
        )

    def _speaks_our_api(self, module: ModuleType) -> bool:
        number, error = _attempt(lambda: getattr(module, "PROBEBENCH_API", None))
        if error is None and type(number) is int and number == API_VERSION:
            return True
        if error is not None or number is None:
            self._report("api", f"module {self.target} does not say PROBEBENCH_API = {API_VERSION}")
            return False
        newer = type(number) is int and number > API_VERSION
        hint = "upgrade probebench" if newer else f"install a release of {self.found.distribution} for this probebench"
        self._report("api", f"it is written for plugin API {number!r}, this probebench has {API_VERSION}", hint)
        return False

    def _cards(self, module: ModuleType) -> list[Spec | ProtocolSpec]:
        """What the hooks yield; those that came before a hook failed are kept."""
        manager = pluggy.PluginManager("probebench")
        manager.add_hookspecs(hooks)
        self._find_lost_hooks(manager, module)
        _, error = _attempt(lambda: manager.register(module, name=f"{self.found.distribution}:{self.name}"))
        if error is not None:
            self._report("hooks", _describe(error))
        cards: list[Spec | ProtocolSpec] = []
        for hook, expected in _HOOKS.items():
            caller = getattr(manager.hook, hook)
            items: list[object] = []
            if caller.get_hookimpls():
                _, error = _attempt(functools.partial(_collect, caller, items))
                if error is not None:
                    self._report("hooks", f"{hook}: {_describe(error)}")
            for item in items:
                if isinstance(item, expected):
                    cards.append(item)
                else:
                    self._report("spec", f"{hook} yields a {type(item).__name__}, not a {expected.__name__}")
        return cards

    def _find_lost_hooks(self, manager: pluggy.PluginManager, module: ModuleType) -> None:
        """Reports functions that were meant as hooks, but that pluggy would pass over in silence."""
        for name, value in vars(module).items():
            options = manager.parse_hookimpl_opts(module, name)
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            hook = (options and options["specname"]) or name
            if options is None and own and name in _HOOKS:
                self._report("hooks", f"{name} is not marked with @hookimpl")
            elif hook not in _HOOKS and (options is not None or (own and name.startswith("probebench_"))):
                self._report("hooks", f"there is no hook {hook!r}", suggest(hook, _HOOKS))

    def _admits(self, spec: Spec) -> bool:
        """Whether a component is offered. One that lacks a requirement is: asking for it says what to install."""
        if not self._is_new(spec):
            return False
        models = [spec.options, *([spec.recipe, spec.sampling] if isinstance(spec, BackboneSpec) else [])]
        required = [name for model in models for name, field in model.model_fields.items() if field.is_required()]
        if required:
            self._report("spec", f"option {required[0]!r} of {spec.name} has no default", spec=spec)
            return False
        checked, error = _attempt(lambda: requirements.check(spec.requires))
        if checked is None:
            self._report("spec", f"requires of {spec.name}: {_describe(error)}", spec=spec)
            return False
        if unmet := tuple(requirement for requirement in checked if not requirement.met):
            needs = "needs " + " and ".join(map(str, unmet))
            self._report("requires", needs, requirements.install_line(unmet), spec)
        return True

    def _is_new(self, card: Spec | ProtocolSpec) -> bool:
        """Whether the distribution has not given something of that kind and name before."""
        spec = card if isinstance(card, Spec) else None
        key = ("protocol" if spec is None else kind_of(spec), self.found.distribution, card.name)
        if first := self.given.get(key):
            self._report(
                "collision", f"{key[0]} {card.name} is given by {first!r} and again by {self.name!r}", spec=spec
            )
            return False
        self.given[key] = self.name
        return True


def _import(target: str) -> ModuleType:
    if ":" in target:
        raise ValueError(f"the entry point names the object {target!r}; it must name a module")
    module = importlib.import_module(target)
    if not inspect.ismodule(module):
        raise TypeError(f"{target} replaces itself by a {type(module).__name__}; it must stay a module")
    return module


def _collect(caller: pluggy.HookCaller, into: list[object]) -> None:
    """Calls a hook and takes what it yields, one by one: what came before an error stays in `into`."""
    results = caller()
    if not results:
        raise TypeError("it returns None; it must yield specs")
    for result in results:
        for item in result:
            into.append(item)  # noqa: PERF402 - `extend` leaves open what it keeps when the generator raises


def _attempt(action: Callable[[], Result]) -> tuple[Result | None, BaseException | None]:
    """Runs a plugin's code: what it raises is returned, and what it prints goes to stderr, away from ``--json``."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return action(), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin's sys.exit() must not end the host
        return None, error


def _describe(error: BaseException | None) -> str:
    """An exception in one line, with the line of the plugin it comes from."""
    text = " ".join(str(error).split())[:300]
    ours = (__file__, str(Path(pluggy.__file__).parent), str(Path(importlib.__file__).parent), "<frozen")
    for frame in reversed(traceback.extract_tb(None if error is None else error.__traceback__)):
        if not frame.filename.startswith(ours):
            return f"{type(error).__name__}: {text} ({frame.filename}:{frame.lineno})"
    return f"{type(error).__name__}: {text}"


def reinstall(distribution: str) -> str:
    """What to do about a distribution that is broken as a whole."""
    return f"reinstall it, or remove it with: pip uninstall {distribution}"
