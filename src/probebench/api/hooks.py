"""The hooks that a plugin implements in its light module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from probebench.api.specs import BackboneSpec, DatasetSpec, ProbeSpec, ProtocolSpec

API_VERSION = 1
"""Version of the API. A plugin's module sets ``PROBEBENCH_API = 1``; another number is an error.

A new hook does not change the version, because plugins need not implement it.
"""

hookspec = pluggy.HookspecMarker("probebench")
hookimpl = pluggy.HookimplMarker("probebench")


@hookspec
def probebench_backbones() -> Iterable[BackboneSpec]:  # type: ignore[empty-body]
    """Yields the plugin's backbones."""


@hookspec
def probebench_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Yields the plugin's datasets."""


@hookspec
def probebench_probes() -> Iterable[ProbeSpec]:  # type: ignore[empty-body]
    """Yields the plugin's probes."""


@hookspec
def probebench_protocols() -> Iterable[ProtocolSpec]:  # type: ignore[empty-body]
    """Yields the plugin's protocols."""
