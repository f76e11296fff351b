"""Protocols: every setting that can change a probe's number, named and hashed.

Every record holds the hash, and rows of different hashes are never ranked together. So a changed default is seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from probebench.api import ViewOptions
from probebench.planning import protocol_files
from probebench.plugins import option_text
from probebench.plugins.entrypoints import normalise
from probebench.plugins.registry import Component, compose, consumes, consumes_samples, installed, resolve
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
    """The backbone whose features a measure of generated images is computed on.

    Attributes:
        component: The backbone.
        point: As the user wrote it; empty for the backbone's deepest tap.
    """

    component: Component
    point: str


@dataclass(frozen=True)
class RuledProbe:
    """A probe, and the protocol that its records name.

    Attributes:
        probe: What is fitted. A measure of generated images names its extractor by the shortest title, without paths.
        protocol: Name, hash and document.
        pool: The pool that the protocol fixes; empty where the run chooses it.
        taps: The taps that it fixes.
        levels: The levels that it fixes.
        extractor: Of a measure of generated images; None for a probe of features.
    """

    probe: Component
    protocol: Protocol
    pool: str = ""
    taps: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    extractor: Extractor | None = None

    @property
    def finetunes(self) -> bool:
        """Whether the probe trains the backbone."""
        return consumes(self.probe.entry) == "backbone"

    @property
    def logits(self) -> bool:
        """Whether the probe, or the one that it wraps, may give probabilities; see `ProbeSpec`."""
        return all(cast("ProbeSpec", one.entry.spec).logits for one in (self.probe, self.probe.inner) if one)

    @property
    def views(self) -> str:
        """The views of the train images that the probe, or the one that it wraps, is trained on; see `ViewOptions`."""
        options = (self.probe.inner or self.probe).options
        return options.views if isinstance(options, ViewOptions) else "none"


def plain(text: str) -> RuledProbe:
    """Returns a probe with the options of its spec. Its protocol has the probe's title, which shows every option set.

    Raises:
        UsageError: The spec is wrong.
        PluginError: The probe is installed and cannot be used.
    """
    probe, extractor = _with_extractor(resolve("probe", text))
    document = _document(probe, extractor)
    return RuledProbe(probe, Protocol(name=probe.title, hash=digest(document), document=document), extractor=extractor)


def _with_extractor(probe: Component) -> tuple[Component, Extractor | None]:
    """Resolves the extractor of a measure of generated images; returns a probe of features unchanged."""
    if not consumes_samples(probe.entry):
        return probe, None
    options = cast("SampleOptions", probe.options)
    try:
        component = resolve("backbone", options.extractor)
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
    """A named protocol whose document has been read.

    Attributes:
        label: The shortest unique name.
        distribution: Normalised name of the distribution it comes from.
        origin: Distribution and version, for messages.
        document: Its content.
        probes: The probes that were requested.
    """

    label: str
    distribution: str
    origin: str
    document: Document
    probes: tuple[str, ...]

    def ruled(self, dataset: RegistryEntry | None) -> tuple[RuledProbe, ...]:
        """Returns its probes with the options that it prescribes for a dataset.

        Args:
            dataset: The dataset; None for the options that hold for datasets without rules of their own.

        Raises:
            PluginError: A probe is not installed, or does not have an option or value that the document gives it.
        """
        return tuple(self._ruled(name, dataset) for name in self.probes)

    def _ruled(self, name: str, dataset: RegistryEntry | None) -> RuledProbe:
        rules = self.document.probes[name]
        where = f"protocol {self.label} of {self.origin}"
        entry = self._entry(rules.probe or name, where)
        special = rules.datasets.get(dataset.spec.name, {}) if dataset else {}
        try:
            options = option_text.validate(entry.spec.options, {**rules.options, **special}, entry.label)
        except UsageError as error:
            raise PluginError(f"{entry.label}: {error.what}", where=where, hint=error.hint) from error
        probe, extractor = _with_extractor(compose(entry, options))
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

    def _entry(self, name: str, where: str) -> RegistryEntry:
        """Finds a probe; for a short name, the protocol's own distribution comes first."""
        own = installed().look_up("probe", f"{self.distribution}/{name}") if "/" not in name else None
        try:
            return installed().find("probe", own.qualified if own else name)
        except ProbebenchError as error:
            raise PluginError(
                f"the protocol needs the probe {name!r}: {error.what}", where=where, hint="probebench list probes"
            ) from error


def known() -> list[tuple[str, str, str, ProtocolSpec]]:
    """Returns the installed protocols, sorted: label, distribution, version and spec."""
    found = [(p.distribution, p.version, card) for p in installed().discovery.plugins for card in p.protocols]
    names = [card.name for _, _, card in found]
    return sorted(
        (card.name if names.count(card.name) == 1 else f"{owner}/{card.name}", owner, version, card)
        for owner, version, card in found
    )


def find(text: str) -> Named:
    """Reads the protocol that ``NAME`` or ``DISTRIBUTION/NAME`` names, or one probe of it with ``:PROBE``.

    Raises:
        UsageError: There is no such protocol or probe, or several distributions have a protocol of that name.
        PluginError: Its document is not valid.
    """
    name, colon, probe = text.strip().partition(":")
    owner, slash, short = name.rpartition("/")
    protocols = known()
    matches = [item for item in protocols if item[3].name == short and (not slash or normalise(owner) == item[1])]
    if len(matches) > 1:
        raise UsageError(
            f"several distributions have a protocol {name!r}: "
            + " and ".join(f"{owner} {version}" for _, owner, version, _ in matches),
            hint="write " + " or ".join(label for label, _, _, _ in matches),
        )
    if not matches:
        labels = [label for label, _, _, _ in protocols]
        raise UsageError(
            f"no protocol is called {name!r}",
            hint=suggest(name, labels, "available") if labels else "install a plugin that provides protocols",
        )
    label, owner, version, card = matches[0]
    document = protocol_files.read(card, f"{owner} {version}")
    if colon and probe not in document.probes:
        raise UsageError(
            f"protocol {label} has no probe {probe!r}", where=text, hint=suggest(probe, document.probes, "probes")
        )
    return Named(label, owner, f"{owner} {version}", document, (probe,) if colon else tuple(document.probes))
