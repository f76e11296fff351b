"""Series: one spec that means several backbones."""

from __future__ import annotations

import textwrap

import pytest

from probebench.api import BackboneSpec, Options, PluginError, UsageError
from probebench.planning.series import expand, validate
from probebench.plugins.registry import resolve

SOURCE = """
    class Of(Options):
        checkpoint: str = Field("bundled", description="which")
        noise: float = Field(0.0, description="how much")

    class Series(Options):
        run: str = Field("", description="a folder")
        last: int = Field(2, description="how many")

    def members(options):
        if options.run == "broken":
            raise RuntimeError("disk on fire")
        return [{"checkpoint": f"{options.run}/{number}"} for number in range(options.last)]

    @hookimpl
    def probebench_backbones():
        yield BackboneSpec(name="net", factory="nowhere:net", options=Of, summary="a network",
                           series="fake_acme_nets:members", series_options=Series)
        yield BackboneSpec(name="plain", factory="nowhere:plain", summary="a network without series")
"""


@pytest.fixture
def registry(site):
    site.add("acme-nets", "from pydantic import Field\n" + textwrap.dedent(SOURCE))
    return site.registry()


def titles(text, registry):
    return [component.title for component in expand(text)]


def test_a_series_expands_to_its_members(registry):
    assert titles("net:run=a", registry) == ["net:checkpoint=a/0", "net:checkpoint=a/1"]
    assert titles("acme-nets/net:run=a,last=1", registry) == ["net:checkpoint=a/0"]


def test_a_member_equals_the_backbone_that_is_named_alone(registry):
    first, _ = expand("net:run=a")
    assert first == resolve("backbone", "net:checkpoint=a/0")
    assert first.identity()["options"] == {"checkpoint": "a/0", "noise": 0.0}, "no option of the series is kept"


def test_members_share_the_other_options(registry):
    assert titles("net:noise=0.5,run=a", registry) == [f"net:checkpoint=a/{n},noise=0.5" for n in range(2)]


def test_a_spec_without_options_of_a_series_is_one_backbone(registry):
    assert titles("net:noise=0.5", registry) == ["net:noise=0.5"]
    assert titles("plain", registry) == ["plain"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net:run=a,last=0", "the series contains no backbone"),
        ("net:run=a,checkpoint=b", "option checkpoint=b contradicts the series, which has checkpoint=a/0"),
        ("net:run=a,last=many", "option last=many should be an integer"),
        ("net:run=a,noisy=1", "no option 'noisy'"),
        ("plain:run=a", "no option 'run'"),
    ],
)
def test_errors_in_a_spec_are_reported(registry, text, message):
    with pytest.raises(UsageError, match=message) as raised:
        expand(text)
    assert len(str(raised.value).splitlines()) <= 3


def test_a_failing_function_is_an_error_of_the_plugin(registry):
    with pytest.raises(PluginError, match="the series net:run=broken cannot be listed: RuntimeError: disk on fire"):
        expand("net:run=broken")


def test_a_series_is_refused_where_one_backbone_is_needed(registry):
    with pytest.raises(UsageError, match=r"net:run=\.\.\. is a series of backbones, but one backbone is needed here"):
        resolve("backbone", "net:run=a")


def test_a_spec_can_be_checked_before_the_series_exists(registry):
    validate("net:run=broken,noise=0.5")
    for text in ("net:run=broken,noisy=1", "net:run=broken,last=many", "nett:run=a"):
        with pytest.raises(UsageError):
            validate(text)


class Shared(Options):
    run: str = ""


def test_a_spec_whose_options_are_ambiguous_is_refused():
    with pytest.raises(ValueError, match="option 'run' of net is also an option of its series"):
        BackboneSpec(name="net", factory="a:b", summary="", options=Shared, series="a:b", series_options=Shared)
    with pytest.raises(ValueError, match="series 'list it' of net is not of the form"):
        BackboneSpec(name="net", factory="a:b", summary="", series="list it")
