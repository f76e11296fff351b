"""Parses component specs, such as ``ddpm:checkpoint=none,widths=32+64``, and writes their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from probebench.util.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORM = "write NAME or NAME:option=value,option=value"


@dataclass(frozen=True, slots=True)
class ParsedSpec:
    """The name and the options of a component, as the user wrote them.

    Attributes:
        name: Short name, or ``distribution/name``.
        options: Option texts, in the order in which they were written.
    """

    name: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.name}:{options}" if options else self.name


def parse_spec(text: str) -> ParsedSpec:
    """Parses ``name`` or ``name:option=value,option=value``.

    The text is split at the first colon, and each option at its first equals sign, so values may contain both. A value
    that contains a comma, such as a spec, is written in brackets; a tuple is written with plus signs.

    Raises:
        UsageError: The text does not have this form, or an option is repeated.
    """
    name, colon, rest = text.strip().partition(":")
    parts = name.split("/")
    if len(parts) > 2 or not all(part and part == part.strip() for part in parts):
        folder = f"; for a folder of images write imagefolder:path={name}" if "/" in name else ""
        raise UsageError(f"no component is called {name!r}", where=text.strip() or None, hint=_FORM + folder)
    if not colon:
        return ParsedSpec(name, {})
    options: dict[str, str] = {}
    for item in split_list(rest, where=text):
        option, equals, value = (part.strip() for part in item.partition("="))
        if not option or not equals:
            hint = f"{_FORM}; write a value with a comma as [...], and a tuple as 1+2+3" if options else _FORM
            raise UsageError(f"{item!r} is not of the form option=value", where=text, hint=hint)
        if option in options:
            raise UsageError(f"option {option!r} is repeated", where=text, hint=f"write {option}=VALUE once")
        options[option] = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    return ParsedSpec(name, options)


def write_value(value: object) -> str:
    """Returns a JSON or TOML value as it is written in a spec: ``false``, ``0.1``, ``32+64``, ``[a=1,b=2]``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "+".join(map(write_value, value))
    text = str(value)
    return f"[{text}]" if "," in text else text


def split_list(text: str, *, where: str | None = None) -> list[str]:
    """Splits a text at the commas that are not in brackets.

    Raises:
        UsageError: The brackets do not match.
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
        raise UsageError(f"the brackets of {text!r} do not match", where=where, hint="write name:option=[a=1,b=2]")
    return items
