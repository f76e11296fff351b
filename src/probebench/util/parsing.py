"""What the user writes: component specs, lists, config files, and where things are kept by default."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_RESULTS = Path("results")
"""Where records go when ``--results`` does not say."""

DEFAULT_BACKBONE, DEFAULT_DATASET, DEFAULT_PROBE = "ddpm", "scattered-digits", "knn"
"""What ``probebench run`` alone means: components that need no download."""

_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)?(?:(?P<hours>\d{1,6})h)?(?:(?P<minutes>\d{1,6})m)?(?:(?P<seconds>\d{1,9})s)?"
)

_FORM = "write NAME or NAME:option=value,option=value"


@dataclass(frozen=True, slots=True)
class ParsedSpec:
    """A component as the user asked for it, before anything is known about it.

    Attributes:
        name: Short name, or ``distribution/name``.
        options: Option texts, in the order they were written.
    """

    name: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


def parse_spec(text: str) -> ParsedSpec:
    """Reads ``name`` or ``name:option=value,option=value``.

    The text is split at the first colon, each option at its first equals sign: values may hold both. A value that
    holds a comma, such as a spec, is written in brackets; a tuple is written with plus signs.

    Raises:
        UsageError: The text is not of that form, or an option is given twice.
    """
    name, colon, rest = text.strip().partition(":")
    parts = name.split("/")
    if len(parts) > 2 or not all(part and part == part.strip() for part in parts):
        raise UsageError(f"{text!r} does not name a component", hint=_FORM)
    if not colon:
        return ParsedSpec(name, {})
    options: dict[str, str] = {}
    for item in split_list(rest, where=text):
        option, equals, value = (part.strip() for part in item.partition("="))
        if not option or not equals:
            hint = f"{_FORM}; a value with a comma is written [...], and a tuple 1+2+3" if options else _FORM
            raise UsageError(f"{item!r} is not of the form option=value", where=text, hint=hint)
        if option in options:
            raise UsageError(f"option {option!r} is given twice", where=text)
        options[option] = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    return ParsedSpec(name, options)


def write_value(value: object) -> str:
    """A JSON or TOML value the way it is written in a spec: ``false``, ``0.1``, ``32+64``, ``[a=1,b=2]``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "+".join(map(write_value, value))
    text = str(value)
    return f"[{text}]" if "," in text else text


def split_list(text: str, *, where: str | None = None) -> list[str]:
    """Splits at the commas that are not in brackets.

    Raises:
        UsageError: A bracket is not closed, or was never opened.
    """
    items, depth = [""], 0
    for sign in text:
        depth += (sign == "[") - (sign == "]")
        if depth < 0:
            break
        if sign == "," and not depth:
            items.append("")
        else:
            items[-1] += sign
    if depth:
        raise UsageError(f"the brackets of {text!r} do not match", where=where, hint="name:option=[a=1,b=2]")
    return items


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


def load_config(path: Path, keys: Iterable[str]) -> dict[str, Any]:
    """Reads a TOML file whose top-level keys are all known.

    Args:
        path: The file.
        keys: What it may hold.

    Raises:
        UsageError: The file cannot be read, is not TOML, or holds an unknown key.
    """
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the config file cannot be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the config file is not TOML: {error}", where=str(path)) from error
    known = sorted(keys)
    unknown = [key for key in document if key not in known]
    if unknown:
        names = ", ".join(map(repr, unknown))
        raise UsageError(
            f"unknown key{'s' if len(unknown) > 1 else ''} {names}",
            where=str(path),
            hint=suggest(unknown[0], known),
        )
    return document


def suggest(word: str, known: Iterable[str], what: str = "") -> str:
    """A hint for a word that is none of the known ones.

    Args:
        word: What the user wrote.
        known: What could have been meant.
        what: What the known words are; when given, all of them are named even where one is close.

    Returns:
        ``did you mean 'x'?`` where something is close, else ``one of a, b, c``; empty when nothing is known.
    """
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?" + (f" ({what}: {', '.join(names)})" if what else "")
    return "one of " + ", ".join(names) if names else ""


def default_store() -> Path:
    """Folder of the feature store: ``PROBEBENCH_STORE``, else the user's cache folder."""
    if chosen := os.environ.get("PROBEBENCH_STORE"):
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("probebench")) / "store"
