"""Specs: what a plugin says about its components before any of them is imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from probebench.api.generation import SampleOptions
from probebench.api.options import NoOptions, Options
from probebench.api.pooling import check_pool

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_RESOURCE = re.compile(r"[A-Za-z_][\w.]*:[\w./-]+\.toml")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A component's card. Yielded by the plugin's light module; the factory is imported on first use.

    Attributes:
        name: Lower case letters, digits and single hyphens.
        factory: ``"package.module:attribute"``, called with the validated options.
        summary: One line for ``probebench list``.
        options: Model of the component's options.
        version: Raise it when the component's numbers change: it is part of every key and record.
        requires: Distributions that must be installed, as requirement strings.
        files: ``"package.module:function"`` that lists the files and folders that a component reads, called as
            ``files(options)``; `no_files` where there are none. It may return None where that is not known. Its module imports nothing heavy. The core
            then remembers fingerprints while those files, the sources of the plugin and all versions stay as they are.
            Empty where it cannot be said: the component is then built in every run.
        license: Licence of weights, data or code where it matters to a user.
        citation: What to cite.
    """

    name: str
    factory: str
    summary: str
    options: type[Options] = NoOptions
    version: int = 1
    requires: tuple[str, ...] = ()
    files: str = ""
    license: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not lower-case words joined by hyphens")
        if not _TARGET.fullmatch(self.factory):
            raise ValueError(f"factory {self.factory!r} of {self.name} is not of the form 'package.module:attribute'")
        if self.files and not _TARGET.fullmatch(self.files):
            raise ValueError(f"files {self.files!r} of {self.name} is not of the form 'package.module:function'")
        if not issubclass(self.options, Options):
            raise TypeError(f"options of {self.name} do not derive from probebench.api.Options")


def no_files(options: Options) -> tuple[Path, ...]:  # noqa: ARG001 - the signature of `Spec.files`
    """Lists the files of a component that reads none."""
    return ()


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(Spec):
    """Card of a backbone; its factory returns a `Backbone`.

    Attributes:
        trainer: ``"package.module:attribute"`` of a function that takes a `TrainingJob`; empty when the backbone
            cannot be trained by probebench.
        recipe: Model of the training's options.
        parallel: Whether the trainer may be called in several processes at once, which share one training
            (`TrainingJob.process`).
        baseline: The backbone is what every other one has to beat, such as raw pixels; it is added to every run.
        untrained: Settings ``"option=value"`` any of which gives the network random weights. The first one, added to
            the options of a run, gives the same network untrained, which is run beside it.
        sampler: ``"package.module:attribute"`` of a function that takes a `SamplingJob` and yields drawn images; empty
            when the backbone draws none.
        sampling: Model of the sampler's options.
        fetch: As that of a `DatasetSpec`, for weights that are downloaded. Empty when there are none.
        series: ``"package.module:attribute"`` of a function that takes the validated `series_options` and gives, for
            each backbone of a series, the options that make it, as texts. Empty when there are no series.
        series_options: Model of what names a series. Its fields are written among the backbone's options, and have
            other names.
        finetunable: Whether `Backbone.trainable` gives the network to probes that train it.
    """

    trainer: str = ""
    recipe: type[Options] = NoOptions
    parallel: bool = False
    baseline: bool = False
    untrained: tuple[str, ...] = ()
    sampler: str = ""
    sampling: type[Options] = NoOptions
    fetch: str = ""
    series: str = ""
    series_options: type[Options] = NoOptions
    finetunable: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fetch(self.fetch, self.name)
        for field in ("sampler", "series"):
            if (target := getattr(self, field)) and not _TARGET.fullmatch(target):
                raise ValueError(f"{field} {target!r} of {self.name} is not of the form 'package.module:attribute'")
        if both := sorted(self.options.model_fields.keys() & self.series_options.model_fields.keys()):
            raise ValueError(f"option {both[0]!r} of {self.name} is one of its series, too")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """Card of a dataset; its factory returns a `Dataset`.

    Attributes:
        fetch: ``"package.module:function"`` that downloads and verifies what is missing, called as
            ``fetch(options, progress)``; it calls ``progress(file name, bytes there, bytes in all)``, where the last is
            0 when nobody knows. Empty when the dataset cannot be downloaded, or needs no download.
    """

    fetch: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fetch(self.fetch, self.name)


@dataclass(frozen=True, kw_only=True)
class ProbeSpec(Spec):
    """Card of a probe; its factory returns a `Probe`, a `SampleProbe` or a `FinetuningProbe`, by what it consumes.

    Attributes:
        consumes: ``features`` of labelled images; ``samples``, images that a backbone draws; or the ``backbone``, which
            it trains. Options of those that consume samples derive from `SampleOptions`.
        pool: How feature maps are pooled for it where neither the user nor a protocol says so. ``grid4`` gives a probe
            that reads maps 16 positions, and keeps the full map out of the store.
        wraps: The option, a string, that is the spec of another probe. The factory is then called with the options and
            that probe, built; its identity is part of the protocol. Empty for a probe that stands alone.
        logits: False where nothing that the probe fits states probabilities (`Fitted.logits`): a soft vote of it is
            then refused before anything is read, and not when its cell is run.
    """

    consumes: Literal["features", "samples", "backbone"] = "features"
    pool: str = "gap"
    wraps: str = ""
    logits: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pool(self.pool, "spatial")
        if self.wraps and self.wraps not in self.options.model_fields:
            raise ValueError(f"{self.name} has no option {self.wraps!r} that could name a probe")
        if self.consumes not in ("features", "samples", "backbone"):
            raise ValueError(f"{self.name} consumes {self.consumes!r}, not 'features', 'samples' or 'backbone'")
        if (self.consumes == "samples") != issubclass(self.options, SampleOptions):
            raise TypeError(
                f"{self.name} consumes {self.consumes}: options of probes that consume samples derive from "
                "probebench.api.SampleOptions, and no others do"
            )


@dataclass(frozen=True, kw_only=True)
class ProtocolSpec:
    """Card of a protocol: where the document lies that says how probes are to be run. It is read on first use.

    Attributes:
        name: Lower case letters, digits and single hyphens; the document repeats it.
        document: ``"package:folder/file.toml"`` inside a package, or the `Path` of a file.
    """

    name: str
    document: str | Path

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not lower-case words joined by hyphens")
        if isinstance(self.document, str) and not _RESOURCE.fullmatch(self.document):
            raise ValueError(f"document {self.document!r} of {self.name} is not of the form 'package:folder/file.toml'")


def _check_fetch(fetch: str, name: str) -> None:
    if fetch and not _TARGET.fullmatch(fetch):
        raise ValueError(f"fetch {fetch!r} of {name} is not of the form 'package.module:function'")
