"""Loads one entry point. The result is a `Plugin`, a list of `Problem`, or both, whatever the plugin's code does."""

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

    from probebench.plugins.entrypoints import PluginDistribution

Result = TypeVar("Result")
Kind = Literal["backbone", "dataset", "probe"]
Stage = Literal["metadata", "selection", "import", "api", "hooks", "spec", "collision", "requires"]

HEAVY = ("diffusers", "scipy", "sklearn", "timm", "torch", "torchvision", "transformers")
"""Modules whose import takes about a second: an entry point that imports one slows every command."""

_HOOKS: dict[str, type[Spec | ProtocolSpec]] = {
    "probebench_backbones": BackboneSpec,
    "probebench_datasets": DatasetSpec,
    "probebench_probes": ProbeSpec,
    "probebench_protocols": ProtocolSpec,
}
_KINDS: dict[type[Spec], Kind] = {BackboneSpec: "backbone", DatasetSpec: "dataset", ProbeSpec: "probe"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A loaded entry point.

    Attributes:
        entry_point: Its name.
        module: Its light module.
        distribution: Normalised name of its distribution.
        version: Version of that distribution.
        api: The module's ``PROBEBENCH_API``.
        specs: The specs of its components.
        import_seconds: Duration of its import in this process.
        heavy: Modules of `HEAVY` that its import loaded in this process. Modules that were loaded before are not
            counted; `probebench.plugins.import_cost` measures in a fresh process.
        protocols: The specs of its protocols.
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
    """A problem of a plugin.

    Attributes:
        entry_point: Its name; empty if the problem is one of the whole distribution.
        distribution: Normalised name of the distribution.
        version: Version of the distribution.
        stage: The step of loading that failed.
        error: What is wrong, in one line.
        hint: What to do about it; may be empty.
        kind: Kind of the affected component, if it is only one.
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
        """Distribution, version and entry point, as far as they are known, for messages."""
        owner = f"{self.distribution} {self.version}".strip()
        return f"{owner}, entry point {self.entry_point!r}" if self.entry_point else owner


def kind_of(spec: Spec) -> Kind:
    """Returns the kind of component that a spec describes."""
    return next(kind for expected, kind in _KINDS.items() if isinstance(spec, expected))


class EntryPointLoader:
    """Loads one entry point.

    Args:
        distribution: The distribution of the entry point.
        name: Name of the entry point.
        target: Its value: the module.
        provided: Components of the entry points that were loaded before, by kind, distribution and name, with the
            entry point that provides each. The components of this entry point are added.
    """

    def __init__(
        self, distribution: PluginDistribution, name: str, target: str, provided: dict[tuple[str, str, str], str]
    ) -> None:
        self.distribution, self.name, self.target, self.provided = distribution, name, target, provided
        self.problems: list[Problem] = []

    def load(self) -> Plugin | None:
        """Runs all steps. Returns None if no component of the module can be used."""
        loaded, started = set(sys.modules), time.perf_counter()
        module, error = _call(functools.partial(_import, self.target))
        seconds = time.perf_counter() - started
        if module is None:
            self._report("import", _describe(error), reinstall(self.distribution.distribution))
            return None
        if not self._has_our_api(module):
            return None
        specs = self._specs(module)
        return Plugin(
            entry_point=self.name,
            module=self.target,
            distribution=self.distribution.distribution,
            version=self.distribution.version,
            api=API_VERSION,
            specs=tuple(spec for spec in specs if isinstance(spec, Spec) and self._is_offered(spec)),
            protocols=tuple(spec for spec in specs if isinstance(spec, ProtocolSpec) and self._is_new(spec)),
            import_seconds=seconds,
            heavy=tuple(name for name in HEAVY if name in sys.modules and name not in loaded),
        )

    def _report(self, stage: Stage, error: str, hint: str = "", spec: Spec | None = None) -> None:
        self.problems.append(
            Problem(
                entry_point=self.name,
                distribution=self.distribution.distribution,
                version=self.distribution.version,
                stage=stage,
                error=error,
                hint=hint,
                kind=None if spec is None else kind_of(spec),
                name="" if spec is None else spec.name,
            )
        )

    def _has_our_api(self, module: ModuleType) -> bool:
        number, error = _call(lambda: getattr(module, "PROBEBENCH_API", None))
        if error is None and type(number) is int and number == API_VERSION:
            return True
        if error is not None or number is None:
            self._report(
                "api",
                f"module {self.target} does not define PROBEBENCH_API",
                f"write PROBEBENCH_API = {API_VERSION} in {self.target}",
            )
            return False
        newer = type(number) is int and number > API_VERSION
        self._report(
            "api",
            f"the plugin is written for plugin API {number!r}, but this probebench has plugin API {API_VERSION}",
            f"pip install --upgrade {'probebench' if newer else self.distribution.distribution}",
        )
        return False

    def _specs(self, module: ModuleType) -> list[Spec | ProtocolSpec]:
        """Collects the specs of all hooks, including those that a hook yields before it fails."""
        manager = pluggy.PluginManager("probebench")
        manager.add_hookspecs(hooks)
        self._report_ignored_hooks(manager, module)
        _, error = _call(lambda: manager.register(module, name=f"{self.distribution.distribution}:{self.name}"))
        if error is not None:
            self._report("hooks", _describe(error))
        specs: list[Spec | ProtocolSpec] = []
        for hook, expected in _HOOKS.items():
            caller = getattr(manager.hook, hook)
            items: list[object] = []
            if caller.get_hookimpls():
                _, error = _call(functools.partial(_collect, caller, items))
                if error is not None:
                    self._report("hooks", f"{hook}: {_describe(error)}")
            for item in items:
                if isinstance(item, expected):
                    specs.append(item)
                else:
                    self._report("spec", f"{hook} yields a {type(item).__name__}, not a {expected.__name__}")
        return specs

    def _report_ignored_hooks(self, manager: pluggy.PluginManager, module: ModuleType) -> None:
        """Reports functions that look like hooks, but that pluggy silently ignores."""
        for name, value in vars(module).items():
            options = manager.parse_hookimpl_opts(module, name)
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            hook = (options and options["specname"]) or name
            if options is None and own and name in _HOOKS:
                self._report("hooks", f"{name} is not marked with @hookimpl", f"write @hookimpl above def {name}")
            elif hook not in _HOOKS and (options is not None or (own and name.startswith("probebench_"))):
                self._report("hooks", f"there is no hook {hook!r}", suggest(hook, _HOOKS))

    def _is_offered(self, spec: Spec) -> bool:
        """Returns whether a component is offered. One without its requirements is: its error says what to install."""
        if not self._is_new(spec):
            return False
        models = [spec.options, *([spec.recipe, spec.sampling] if isinstance(spec, BackboneSpec) else [])]
        required = [name for model in models for name, field in model.model_fields.items() if field.is_required()]
        if required:
            self._report("spec", f"option {required[0]!r} of {spec.name} has no default", spec=spec)
            return False
        if not spec.requires:
            return True
        checked, error = _call(lambda: requirements.check(spec.requires))
        if checked is None:
            self._report("spec", f"the requirements of {spec.name} cannot be read: {_describe(error)}", spec=spec)
            return False
        if unmet := tuple(requirement for requirement in checked if not requirement.met):
            needs = "needs " + " and ".join(map(str, unmet))
            self._report("requires", needs, requirements.install_line(unmet), spec)
        return True

    def _is_new(self, spec: Spec | ProtocolSpec) -> bool:
        """Returns whether the distribution provides the first component of this kind and name."""
        component = spec if isinstance(spec, Spec) else None
        key = ("protocol" if component is None else kind_of(component), self.distribution.distribution, spec.name)
        if first := self.provided.get(key):
            self._report(
                "collision",
                f"{key[0]} {spec.name} is provided twice, by entry points {first!r} and {self.name!r}",
                spec=component,
            )
            return False
        self.provided[key] = self.name
        return True


def _import(target: str) -> ModuleType:
    if ":" in target:
        raise ValueError(f"the entry point names the object {target!r}; it must name a module")
    module = importlib.import_module(target)
    if not inspect.ismodule(module):
        raise TypeError(
            f"{target} replaces itself with a {type(module).__name__} in sys.modules; it must stay a module"
        )
    return module


def _collect(caller: pluggy.HookCaller, into: list[object]) -> None:
    """Calls a hook and collects the items that it yields; `into` keeps those that come before an error."""
    results = caller()
    if not results:
        raise TypeError("the hook returns None, but must yield specs")
    for result in results:
        for item in result:
            into.append(item)  # noqa: PERF402 - after an error, `extend` may not keep the items


def _call(action: Callable[[], Result]) -> tuple[Result | None, BaseException | None]:
    """Runs a plugin's code, and returns its exception. Its output goes to stderr, so that ``--json`` stays valid."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return action(), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a plugin's sys.exit() must not end this process
        return None, error


def _describe(error: BaseException | None) -> str:
    """Describes an exception in one line, with the line of the plugin that raised it."""
    text = " ".join(str(error).split())[:300]
    ours = (__file__, str(Path(pluggy.__file__).parent), str(Path(importlib.__file__).parent), "<frozen")
    for frame in reversed(traceback.extract_tb(None if error is None else error.__traceback__)):
        if not frame.filename.startswith(ours):
            return f"{type(error).__name__}: {text} ({frame.filename}:{frame.lineno})"
    return f"{type(error).__name__}: {text}"


def reinstall(distribution: str) -> str:
    """Returns the hint for a distribution that cannot be used at all."""
    return f"reinstall it, or remove it with: pip uninstall {distribution}"
