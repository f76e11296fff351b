"""Specs: descriptions of components, which a plugin yields before any of them is imported."""

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
    """The description of a component. The light module of a plugin yields it; the factory is imported on first use.

    Attributes:
        name: Lower case letters, digits and single hyphens.
        factory: ``"package.module:attribute"``, called with the validated options.
        summary: One line for ``probebench list``.
        options: Model of the component's options.
        version: Version of the component's numbers, part of every key and record. Increase it when they change.
        requires: Distributions that must be installed, as requirement strings.
        files: ``"package.module:function"`` that lists the files and folders that a component reads, called as
            ``files(options)``; `no_files` if it reads none. The function may return None where they are not known. Its
            module imports nothing heavy. Fingerprints are then remembered between runs, as long as those files, the
            sources of the plugin and all versions stay the same. Empty: the component is built in every run.
        license: Licence of weights, data or code, if it matters to a user.
        citation: Reference to cite.
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
    """The description of a backbone; its factory returns a `Backbone`.

    Attributes:
        trainer: ``"package.module:attribute"`` of a function that takes a `TrainingJob`; empty if probebench cannot
            train the backbone.
        recipe: Model of the options of the training.
        parallel: Whether several processes may share one training (`TrainingJob.process`).
        baseline: Whether the backbone is a baseline for all others, such as raw pixels. It is added to every run.
        untrained: Settings ``"option=value"``, each of which gives the network random weights. A run adds the first one
            to the options of a backbone, to get the same network untrained as a baseline.
        sampler: ``"package.module:attribute"`` of a function that takes a `SamplingJob` and yields generated images;
            empty if the backbone generates none.
        sampling: Model of the options of the sampler.
        fetch: A function that downloads weights, see `DatasetSpec`. Empty if there are none to download.
        series: ``"package.module:attribute"`` of a function that takes the validated `series_options` and returns the
            options of each backbone of the series, as texts. Empty if there are no series.
        series_options: Model of the options that define a series. The user writes them among the options of the
            backbone, so their names must differ from those.
        finetunable: Whether `Backbone.trainable` returns a network for probes that fine-tune it.
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
            raise ValueError(f"option {both[0]!r} of {self.name} is also an option of its series")


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """The description of a dataset; its factory returns a `Dataset`.

    Attributes:
        fetch: ``"package.module:function"`` of a function that downloads and verifies missing files. It is called as
            ``fetch(options, progress)`` and calls ``progress(file name, bytes done, bytes in total)``, where the total
            is 0 if it is not known. Empty if the dataset cannot be downloaded, or needs no download.
    """

    fetch: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_fetch(self.fetch, self.name)


@dataclass(frozen=True, kw_only=True)
class ProbeSpec(Spec):
    """The description of a probe; its factory returns a `Probe`, a `SampleProbe` or a `FinetuningProbe`.

    Attributes:
        consumes: ``features`` of labelled images for a `Probe`, ``samples`` for a `SampleProbe`, ``backbone`` for a
            `FinetuningProbe`. The options of a probe that consumes samples derive from `SampleOptions`.
        pool: Default pool of feature maps, which the user or a protocol can change. ``grid4`` gives 16 positions to a
            probe that reads maps, without the full maps in the store.
        wraps: Name of the string option that is the spec of another probe. The factory is then called with the options
            and the built probe, whose identity is part of the protocol. Empty for all other probes.
        logits: False if no fitted probe returns logits (`Fitted.logits`). A soft vote of the probe is then an error
            before anything is read, and not when its cell is run.
    """

    consumes: Literal["features", "samples", "backbone"] = "features"
    pool: str = "gap"
    wraps: str = ""
    logits: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_pool(self.pool, "spatial")
        if self.wraps and self.wraps not in self.options.model_fields:
            raise ValueError(f"{self.name} has no option {self.wraps!r}, which is set as wraps")
        if self.consumes not in ("features", "samples", "backbone"):
            raise ValueError(f"{self.name} consumes {self.consumes!r}, not 'features', 'samples' or 'backbone'")
        if (self.consumes == "samples") != issubclass(self.options, SampleOptions):
            raise TypeError(
                f"{self.name} consumes {self.consumes}, with options of type {self.options.__name__}: options derive "
                "from probebench.api.SampleOptions if the probe consumes samples, and not otherwise"
            )


@dataclass(frozen=True, kw_only=True)
class ProtocolSpec:
    """The description of a protocol: a document with the rules for probes. It is read on first use.

    Attributes:
        name: Lower case letters, digits and single hyphens. The document repeats it.
        document: ``"package:folder/file.toml"`` for a file in a package, or the `Path` of a file.
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
