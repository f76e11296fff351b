"""Parsing of lists and durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probebench.util.errors import UsageError
from probebench.util.parsing import parse_duration, parse_ints, parse_words


def test_spaces_around_items_are_ignored():
    assert parse_ints("0, 1,2") == (0, 1, 2)
    assert parse_ints("-1") == (-1,)
    assert parse_words("up.1, mid") == ("up.1", "mid")


@given(st.lists(st.integers(), min_size=1, unique=True))
def test_every_list_of_numbers_is_read_back(numbers):
    assert parse_ints(",".join(map(str, numbers))) == tuple(numbers)


@pytest.mark.parametrize("text", ["", "1,", "1,,2", "1.5", "a", "0-4"])
def test_what_is_not_a_list_of_numbers_is_refused_and_its_option_named(text):
    with pytest.raises(UsageError, match=r"not a list of whole numbers\n  in: --seeds\n  try: write them as 0,1,2"):
        parse_ints(text, where="--seeds")


@pytest.mark.parametrize("text", ["", "a,", ",", "a,,b"])
def test_an_empty_word_is_refused(text):
    with pytest.raises(UsageError, match=r"not a list of words\n  in: --taps"):
        parse_words(text, where="--taps")


def test_a_repeated_item_is_refused():
    with pytest.raises(UsageError, match=r"1 is repeated in '1,2,1'\n  try: write 1,2"):
        parse_ints("1,2,1")
    with pytest.raises(UsageError, match=r"'mid' is repeated[\s\S]*try: write mid,up\.1"):
        parse_words("mid,up.1,mid")


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90m", 5400), ("1h30m", 5400), ("2h", 7200), ("1d2h3m4s", 93784), (" 5m ", 300)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "90", "m", "1.5h", "-5m", "30m1h", "1h 30m", "0s", "0h0m", "5 minutes", "9" * 7 + "h"]
)
def test_what_is_not_a_duration_is_refused(text):
    with pytest.raises(UsageError) as error:
        parse_duration(text, where="--max-time")
    assert str(error.value) == (f"{text!r} is not a duration\n  in: --max-time\n  try: write it as 90m, 1h30m or 45s")
