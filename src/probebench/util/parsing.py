"""Parses values of options: lists and durations."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from probebench.util.errors import UsageError

_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)?(?:(?P<hours>\d{1,6})h)?(?:(?P<minutes>\d{1,6})m)?(?:(?P<seconds>\d{1,9})s)?"
)


def parse_words(text: str, *, where: str | None = None) -> tuple[str, ...]:
    """Parses ``a,b,c``.

    Args:
        text: Words separated by commas; spaces around them are ignored.
        where: The option of the text, for the error.

    Raises:
        UsageError: A word is empty or is repeated.
    """
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise UsageError(f"{text!r} is not a list of words", where=where, hint="write them as a,b,c")
    if repeated := sorted({word for word in words if words.count(word) > 1}):
        hint = f"write {','.join(dict.fromkeys(words))}"
        raise UsageError(f"{', '.join(map(repr, repeated))} is repeated in {text!r}", where=where, hint=hint)
    return words


def parse_ints(text: str, *, where: str | None = None) -> tuple[int, ...]:
    """Parses ``0,1,2``.

    Args:
        text: Whole numbers separated by commas.
        where: The option of the text, for the error.

    Raises:
        UsageError: An item is not a whole number, or a number is repeated.
    """
    try:
        numbers = tuple(int(item) for item in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} is not a list of whole numbers", where=where, hint="write them as 0,1,2") from None
    if repeated := sorted({number for number in numbers if numbers.count(number) > 1}):
        hint = f"write {','.join(map(str, dict.fromkeys(numbers)))}"
        raise UsageError(f"{', '.join(map(str, repeated))} is repeated in {text!r}", where=where, hint=hint)
    return numbers


def parse_floats(text: str, *, where: str | None = None) -> tuple[float, ...]:
    """Parses ``0.07,0.1``.

    Args:
        text: Finite numbers separated by commas.
        where: The option of the text, for the error.

    Raises:
        UsageError: An item is not a finite number.
    """
    try:
        numbers = tuple(float(item) for item in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"{text!r} is not a list of numbers", where=where, hint="write them as 0.07,0.1")
    return numbers


def parse_duration(text: str, *, where: str | None = None) -> float:
    """Parses ``90m``, ``1h30m`` or ``45s``.

    Args:
        text: Whole numbers, each with its unit: d, h, m or s, from the largest to the smallest.
        where: The option of the text, for the error.

    Returns:
        Seconds, more than 0.

    Raises:
        UsageError: The text does not have this form, or the duration is 0.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = match.groupdict(default="0") if match else {}
    seconds = timedelta(**{unit: int(number) for unit, number in parts.items()}).total_seconds()
    if not seconds:
        raise UsageError(f"{text!r} is not a duration", where=where, hint="write it as 90m, 1h30m or 45s")
    return seconds
