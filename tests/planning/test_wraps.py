"""Probes that wrap another: how they are built, the hash of their protocol, and the specs that are refused."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import Field

from probebench.api import Options, ProbeSpec, UsageError
from probebench.planning.protocol import plain
from probebench.plugins.registry import installed
from probebench.testing.fakes import ToyProbe


class Wrapping(Options):
    probe: str = Field("means", description="what is wrapped")


class Knobs(Options):
    share: float = Field(0.5, description="a share")


@pytest.fixture(autouse=True)
def built(lab):
    """The arguments that the wrapper `around` was built with."""
    inside = []

    class Around(ToyProbe):
        def __init__(self, options, inner):
            inside.append((options.probe, type(inner)))

    lab.probe("around", Around, options=Wrapping, wraps="probe")
    lab.probe("knob", type("Knob", (ToyProbe,), {}), options=Knobs)
    return inside


def test_the_factory_gets_the_other_probe_built(lab, built):
    assert lab.record(probe=("around",), baselines=False).status == "success"
    assert lab.record(probe=("around:probe=knob:share=0.25",), baselines=False).status == "success"
    assert [(text, kind.__name__) for text, kind in built] == [("means", "ToyProbe"), ("knob:share=0.25", "Knob")]


def test_the_hash_covers_options_and_version_of_the_other_probe(lab):
    first = plain("around:probe=knob").protocol
    assert first.document["probe"]["wraps"] == {"name": "lab/knob", "version": 1, "options": {"share": 0.5}}
    lab.specs[ProbeSpec, "knob"] = dataclasses.replace(lab.specs[ProbeSpec, "knob"], version=2)
    installed.cache_clear()
    assert plain("around:probe=knob").protocol.hash != first.hash


def test_an_unknown_wrapped_probe_is_reported_before_the_run(lab):
    with pytest.raises(UsageError, match="no probe is called 'nothing'"):
        plain("around:probe=nothing")


def test_a_probe_that_is_not_fitted_on_features_cannot_be_wrapped(lab):
    lab.probe("tuned", ToyProbe, consumes="backbone")
    with pytest.raises(UsageError, match="around cannot wrap tuned, which is not fitted on features"):
        plain("around:probe=tuned")


def test_a_wrapper_cannot_wrap_a_wrapper(lab):
    with pytest.raises(UsageError, match="around cannot wrap around, which wraps means") as error:
        plain("around:probe=around")
    assert error.value.hint == "around:probe=means"


def test_a_spec_that_wraps_by_an_unknown_option_is_refused():
    with pytest.raises(ValueError, match="reader has no option 'other', which is set as wraps"):
        ProbeSpec(name="reader", factory="nowhere:Reader", summary="reads", wraps="other")
