"""Values of options as text: lists and durations."""

from __future__ import annotations

import math
import re
from datetime import timedelta

from probebench.util.errors import UsageError

_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)?(?:(?P<hours>\d{1,6})h)?(?:(?P<minutes>\d{1,6})m)?(?:(?P<seconds>\d{1,9})s)?"
)


def parse_words(text: str, *, where: str | None = None) -> tuple[str, ...]:
    """Reads ``a,b,c``.

    Args:
        text: Words joined by commas; spaces around them do not count.
        where: The option that the text belongs to, for the error.

    Raises:
        UsageError: A word is empty or comes twice.
    """
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise UsageError(f"{text!r} is not a list of words", where=where, hint="write them as a,b,c")
    if repeated := sorted({word for word in words if words.count(word) > 1}):
        raise UsageError(f"{', '.join(map(repr, repeated))} comes twice in {text!r}", where=where)
    return words


def parse_ints(text: str, *, where: str | None = None) -> tuple[int, ...]:
    """Reads ``0,1,2``.

    Args:
        text: Whole numbers joined by commas.
        where: The option that the text belongs to, for the error.

    Raises:
        UsageError: An item is not a whole number, or a number comes twice.
    """
    try:
        numbers = tuple(int(item) for item in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} is not a list of whole numbers", where=where, hint="write them as 0,1,2") from None
    if repeated := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise UsageError(f"{', '.join(map(str, repeated))} comes twice in {text!r}", where=where)
    return numbers


def parse_floats(text: str, *, where: str | None = None) -> tuple[float, ...]:
    """Reads ``0.07,0.1``.

    Args:
        text: Finite numbers joined by commas.
        where: The option that the text belongs to, for the error.

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
    """Reads ``90m``, ``1h30m`` or ``45s``.

    Args:
        text: Whole numbers, each with its unit: d, h, m or s, from the largest to the smallest.
        where: The option that the text belongs to, for the error.

    Returns:
        Seconds, more than 0.

    Raises:
        UsageError: The text is not of that form, or says 0.
    """
    match = _DURATION.fullmatch(text.strip())
    parts = match.groupdict(default="0") if match else {}
    seconds = timedelta(**{unit: int(number) for unit, number in parts.items()}).total_seconds()
    if not seconds:
        raise UsageError(f"{text!r} is not a length of time", where=where, hint="write it as 90m, 1h30m or 45s")
    return seconds
