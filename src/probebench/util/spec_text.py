"""Component specs as text, such as ``ddpm:checkpoint=none,widths=32+64``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
