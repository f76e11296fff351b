"""Parsing of component specs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probebench.util.errors import UsageError
from probebench.util.spec_text import parse_spec

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1)
VALUE = st.text("abcXYZ012 =:/+-_.", max_size=12).map(str.strip)


def test_a_name_alone_has_no_options():
    assert parse_spec("ddpm").name == "ddpm"
    assert parse_spec("ddpm").options == {}


def test_a_name_may_be_qualified():
    assert parse_spec("probebench-ddpm/ddpm:draws=4").name == "probebench-ddpm/ddpm"


def test_values_may_hold_colons_and_equals_signs():
    assert parse_spec("timm:weights=C:/w=1.bin,model=vit").options == {"weights": "C:/w=1.bin", "model": "vit"}


def test_an_empty_value_is_a_value():
    assert parse_spec("a:b=").options == {"b": ""}


@given(WORD, st.dictionaries(WORD, VALUE, min_size=1, max_size=4))
def test_every_well_formed_spec_is_parsed(name, options):
    text = name + ":" + ",".join(f"{key}={value}" for key, value in options.items())
    request = parse_spec(text)
    assert (request.name, request.options) == (name, options)


def test_a_value_with_commas_is_in_brackets():
    request = parse_spec("fid:extractor=[timm:model=a,weights=b],count=5,sampling=[x=[1,2],y=3]")
    assert request.options == {"extractor": "timm:model=a,weights=b", "count": "5", "sampling": "x=[1,2],y=3"}
    assert parse_spec("a:path=/data/[x]/y").options == {"path": "/data/[x]/y"}


@pytest.mark.parametrize("text", ["fid:extractor=[timm:model=a,count=5", "fid:extractor=timm:model=a],count=5"])
def test_brackets_that_do_not_match_are_an_error(text):
    with pytest.raises(UsageError) as caught:
        parse_spec(text)
    assert str(caught.value).splitlines() == [
        f"the brackets of {text.partition(':')[2]!r} do not match",
        f"  in: {text}",
        "  try: write name:option=[a=1,b=2]",
    ]


def test_a_path_in_place_of_a_name_hints_at_image_folders():
    with pytest.raises(UsageError) as caught:
        parse_spec("/d/shapes")
    assert str(caught.value).splitlines() == [
        "no component is called '/d/shapes'",
        "  in: /d/shapes",
        "  try: write NAME or NAME:option=value,option=value; for a folder of images write imagefolder:path=/d/shapes",
    ]


@pytest.mark.parametrize(
    "text", ["", " ", ":a=1", "/a", "a/", "a/b/c", "a:", "a:b", "a:=1", "a:b=1,", "a:b=1,,c=2", "a: =1"]
)
def test_malformed_specs_are_refused_with_the_form(text):
    with pytest.raises(UsageError, match="NAME:option=value"):
        parse_spec(text)


def test_a_comma_inside_a_value_hints_at_plus_signs():
    with pytest.raises(UsageError, match=r"'64' is not of the form option=value(.|\n)*1\+2\+3"):
        parse_spec("ddpm:widths=32,64")


def test_a_repeated_option_is_refused():
    with pytest.raises(UsageError, match="option 'k' is repeated"):
        parse_spec("knn:k=1,k=2")
