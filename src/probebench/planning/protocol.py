"""Protocols: every setting that can change a probe's number, named and hashed.

The hash stands in every record. Rows of different hashes are never ranked together, so a changed default cannot pass
unseen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from probebench.api import ViewOptions
from probebench.planning import protocol_files
from probebench.plugins import option_text
from probebench.plugins.entrypoints import normalise
from probebench.plugins.registry import Component, Registry, compose, consumes, consumes_samples, resolve
from probebench.records.schema import Protocol
from probebench.util.errors import PluginError, ProbebenchError, UsageError, suggest
from probebench.util.hashing import digest

if TYPE_CHECKING:
    from probebench.api import ProbeSpec, ProtocolSpec, SampleOptions
    from probebench.planning.protocol_files import Document
    from probebench.plugins.registry import RegistryEntry

VAL_FRACTION = 0.1
"""Share of train that is carved off for selection where a dataset has no official validation split."""

RULE = "highest primary metric on val; of equal values the shallower tap, then the lower level, then the first setting"

FINAL_FIT = "train and val together"

MEASURED = "once on test"

FLOOR = "the same measure of as many real images of the split that is not the reference, drawn evenly from its classes"

VERSION = 1
"""Raised when the harness itself, not a probe, changes what a number means."""


@dataclass(frozen=True)
class Extractor:
    """Whose features a measure of drawn images is taken on.

    Attributes:
        component: The backbone.
        point: As the user wrote it; empty for the backbone's deepest tap.
    """

    component: Component
    point: str


@dataclass(frozen=True)
class RuledProbe:
    """A probe, and the protocol that its records state.

    Attributes:
        probe: What is fitted. A measure of drawn images names its extractor by the shortest title, without places.
        protocol: Name, hash and document.
        pool: What the protocol fixes; empty where that is left to the run.
        taps: The same.
        levels: The same.
        extractor: Of a measure of drawn images; None for a probe of features.
    """

    probe: Component
    protocol: Protocol
    pool: str = ""
    taps: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    extractor: Extractor | None = None

    @property
    def tunes(self) -> bool:
        """Whether it trains the backbone."""
        return consumes(self.probe.entry) == "backbone"

    @property
    def logits(self) -> bool:
        """Whether the probe, or the one it wraps, may state probabilities; see `ProbeSpec`."""
        return all(cast("ProbeSpec", one.entry.spec).logits for one in (self.probe, self.probe.inner) if one)

    @property
    def views(self) -> str:
        """Of the train images, what the probe, or the one it wraps, is trained on; see `ViewOptions`."""
        options = (self.probe.inner or self.probe).options
        return options.views if isinstance(options, ViewOptions) else "none"


def plain(text: str, registry: Registry | None = None) -> RuledProbe:
    """A probe as its spec says. The protocol is called by the probe's title, in which every option set is seen.

    Raises:
        UsageError: The spec is wrong.
        PluginError: The probe is there and cannot be used.
    """
    probe, extractor = _with_extractor(resolve("probe", text, registry), registry)
    document = _document(probe, extractor)
    return RuledProbe(probe, Protocol(name=probe.title, hash=digest(document), document=document), extractor=extractor)


def _with_extractor(probe: Component, registry: Registry | None) -> tuple[Component, Extractor | None]:
    """Resolves what a measure of drawn images reads features with; a probe of features is left as it is."""
    if not consumes_samples(probe.entry):
        return probe, None
    options = cast("SampleOptions", probe.options)
    try:
        component = resolve("backbone", options.extractor, registry)
    except UsageError as error:
        raise UsageError(error.what, where=f"option extractor of {probe.entry.label}", hint=error.hint) from error
    shown = options.model_copy(update={"extractor": component.title})
    return replace(probe, options=shown), Extractor(component, options.point)


def _document(probe: Component, extractor: Extractor | None) -> dict[str, Any]:
    if extractor is not None:
        return {
            "version": VERSION,
            "consumes": "samples",
            "probe": probe.identity(),
            "extractor": extractor.component.identity(),
            "floor": FLOOR,
        }
    wrapped = {"wraps": probe.inner.identity()} if probe.inner else {}
    kind = {"consumes": "backbone", "frozen": False} if consumes(probe.entry) == "backbone" else {}
    return {
        "version": VERSION,
        **kind,
        "probe": {**probe.identity(), **wrapped},
        "selection": {"split": "val", "rule": RULE, "val_fraction": VAL_FRACTION},
        "final_fit": FINAL_FIT,
        "measured": MEASURED,
    }


@dataclass(frozen=True)
class Named:
    """A named protocol, read.

    Attributes:
        label: The shortest name that means it.
        distribution: Normalised name of the distribution it comes from.
        origin: Distribution and version, for messages.
        document: What it says.
        probes: The probes that were asked for.
    """

    label: str
    distribution: str
    origin: str
    document: Document
    probes: tuple[str, ...]

    def ruled(self, dataset: RegistryEntry | None, registry: Registry) -> tuple[RuledProbe, ...]:
        """Its probes, as it wants them run on a dataset.

        Args:
            dataset: What it is run on; None for what holds where nothing else is said.
            registry: Where probes are looked up.

        Raises:
            PluginError: A probe is not installed, or does not have an option or value that the document gives it.
        """
        return tuple(self._ruled(name, dataset, registry) for name in self.probes)

    def _ruled(self, name: str, dataset: RegistryEntry | None, registry: Registry) -> RuledProbe:
        rules = self.document.probes[name]
        where = f"protocol {self.label} of {self.origin}"
        entry = self._entry(rules.probe or name, registry, where)
        special = rules.datasets.get(dataset.spec.name, {}) if dataset else {}
        try:
            options = option_text.validate(entry.spec.options, {**rules.options, **special}, entry.label)
        except UsageError as error:
            raise PluginError(f"{entry.label}: {error.what}", where=where, hint=error.hint) from error
        probe, extractor = _with_extractor(compose(entry, options, registry), registry)
        title = f"{self.label}:{name}"
        document = {**_document(probe, extractor), "protocol": {"name": title, "version": rules.version}}
        pool = rules.pool or self.document.pool
        fixed = {
            "pool": pool,
            "taps": list(self.document.taps),
            "levels": list(self.document.levels),
        }
        document["points"] = {key: value for key, value in fixed.items() if value}
        protocol = Protocol(name=title, hash=digest(document), document=document)
        return RuledProbe(probe, protocol, pool, self.document.taps, self.document.levels, extractor=extractor)

    def _entry(self, name: str, registry: Registry, where: str) -> RegistryEntry:
        """The probe; of a short name, that of the protocol's own distribution comes first."""
        own = registry.look_up("probe", f"{self.distribution}/{name}") if "/" not in name else None
        try:
            return registry.find("probe", own.qualified if own else name)
        except ProbebenchError as error:
            raise PluginError(
                f"it needs the probe {name!r}: {error.what}", where=where, hint="probebench list probes"
            ) from error


def known(registry: Registry) -> list[tuple[str, str, str, ProtocolSpec]]:
    """The installed protocols: label, distribution, version and card, sorted."""
    found = [(p.distribution, p.version, card) for p in registry.discovery.plugins for card in p.protocols]
    names = [card.name for _, _, card in found]
    return sorted(
        (card.name if names.count(card.name) == 1 else f"{owner}/{card.name}", owner, version, card)
        for owner, version, card in found
    )


def find(text: str, registry: Registry) -> Named:
    """Reads the protocol that ``NAME``, ``DISTRIBUTION/NAME`` or either with ``:PROBE`` means.

    Raises:
        UsageError: There is none, the name is given by several distributions, or it has no such probe.
        PluginError: Its document is not valid.
    """
    name, colon, probe = text.strip().partition(":")
    owner, slash, short = name.rpartition("/")
    protocols = known(registry)
    matches = [item for item in protocols if item[3].name == short and (not slash or normalise(owner) == item[1])]
    if len(matches) > 1:
        raise UsageError(
            f"protocol {name!r} is given by " + " and ".join(f"{owner} {version}" for _, owner, version, _ in matches),
            hint="say which: " + " or ".join(label for label, _, _, _ in matches),
        )
    if not matches:
        labels = [label for label, _, _, _ in protocols]
        raise UsageError(
            f"no protocol {name!r}", hint=suggest(name, labels, "available") if labels else "none is installed"
        )
    label, owner, version, card = matches[0]
    document = protocol_files.read(card, f"{owner} {version}")
    if colon and probe not in document.probes:
        raise UsageError(
            f"protocol {label} has no probe {probe!r}", where=text, hint=suggest(probe, document.probes, "probes")
        )
    return Named(label, owner, f"{owner} {version}", document, (probe,) if colon else tuple(document.probes))
