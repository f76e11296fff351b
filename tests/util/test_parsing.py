from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probebench.util.errors import UsageError
from probebench.util.parsing import (
    default_store,
    load_config,
    parse_duration,
    parse_ints,
    parse_spec,
    parse_words,
    suggest,
)

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
def test_every_well_formed_spec_is_read_back(name, options):
    text = name + ":" + ",".join(f"{key}={value}" for key, value in options.items())
    request = parse_spec(text)
    assert (request.name, request.options) == (name, options)


def test_a_value_with_commas_stands_in_brackets():
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
        "  try: name:option=[a=1,b=2]",
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


def test_an_option_given_twice_is_refused():
    with pytest.raises(UsageError, match="option 'k' is given twice"):
        parse_spec("knn:k=1,k=2")


def test_lists():
    assert parse_ints("0, 1,2") == (0, 1, 2)
    assert parse_ints("-1") == (-1,)
    assert parse_words("up.1, mid") == ("up.1", "mid")


@given(st.lists(st.integers(), min_size=1, unique=True))
def test_every_list_of_numbers_is_read_back(numbers):
    assert parse_ints(",".join(map(str, numbers))) == tuple(numbers)


@pytest.mark.parametrize("text", ["", "1,", "1,,2", "1.5", "a", "0-4"])
def test_what_is_not_a_list_of_numbers_is_refused_where_it_stands(text):
    with pytest.raises(UsageError, match=r"not a list of whole numbers\n  in: --seeds\n  try: write them as 0,1,2"):
        parse_ints(text, where="--seeds")


@pytest.mark.parametrize("text", ["", "a,", ",", "a,,b"])
def test_an_empty_word_is_refused(text):
    with pytest.raises(UsageError, match=r"not a list of words\n  in: --taps"):
        parse_words(text, where="--taps")


def test_a_repeated_item_is_refused():
    with pytest.raises(UsageError, match="1 comes twice"):
        parse_ints("1,2,1")
    with pytest.raises(UsageError, match="'mid' comes twice"):
        parse_words("mid,up.1,mid")


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90m", 5400), ("1h30m", 5400), ("2h", 7200), ("1d2h3m4s", 93784), (" 5m ", 300)]
)
def test_lengths_of_time(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "m", "1.5h", "-5m", "30m1h", "1h 30m", "0s", "0h0m", "5 minutes", "9" * 7 + "h"]
)
def test_what_is_no_length_of_time_is_refused(text):
    with pytest.raises(UsageError) as error:
        parse_duration(text, where="--max-time")
    assert str(error.value) == (
        f"{text!r} is not a length of time\n  in: --max-time\n  try: write it as 90m, 1h30m or 45s"
    )


def test_a_config_file_is_read(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('backbone = ["ddpm", "pixels"]\nseeds = [0, 1]\n')
    assert load_config(file, ("backbone", "seeds")) == {"backbone": ["ddpm", "pixels"], "seeds": [0, 1]}


def test_an_unknown_key_is_named_with_the_nearest_known_one(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('bakcbone = "ddpm"\nzzz = 1\n')
    with pytest.raises(UsageError) as caught:
        load_config(file, ("backbone", "seeds"))
    assert str(caught.value).splitlines() == [
        "unknown keys 'bakcbone', 'zzz'",
        f"  in: {file}",
        "  try: did you mean 'backbone'?",
    ]


def test_a_config_file_that_is_not_toml_says_where(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("a = 1\nb = = 2\n")
    with pytest.raises(UsageError, match=r"not TOML: .*line 2"):
        load_config(file, ("a", "b"))
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match="not TOML"):
        load_config(file, ("a",))


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_config_file_that_cannot_be_read_is_named(tmp_path: Path, name):
    with pytest.raises(UsageError, match="cannot be read") as caught:
        load_config(tmp_path / name, ())
    assert caught.value.where == str(tmp_path / name)


def test_a_suggestion_is_the_nearest_word_or_all_of_them():
    assert suggest("dppm", ["ddpm", "pixels"]) == "did you mean 'ddpm'?"
    assert suggest("dppm", ["pixels", "ddpm"], "available") == "did you mean 'ddpm'? (available: ddpm, pixels)"
    assert suggest("zebra", ["b", "a"]) == "one of a, b"
    assert suggest("x", []) == ""


def test_the_store_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("PROBEBENCH_STORE", str(tmp_path))
    assert default_store() == tmp_path
    monkeypatch.setenv("PROBEBENCH_STORE", "~/features")
    assert default_store() == Path.home() / "features"


def test_the_store_is_in_the_user_cache_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("PROBEBENCH_STORE")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / name))
    assert default_store() == tmp_path / "probebench" / "store"
