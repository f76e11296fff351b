"""Options as text: validates what the user wrote, and writes options back as text."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args, get_origin

from probebench.util.errors import UsageError, suggest
from probebench.util.spec_text import write_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import ValidationError

    from probebench.api.options import Options


def validate(model: type[Options], texts: Mapping[str, object], owner: str) -> Options:
    """Validates a component's options.

    Args:
        model: The model of the options.
        texts: Values by option, as text from the command line or as TOML values.
        owner: Name of the component, for the error.

    Raises:
        UsageError: Options are unknown or values are wrong; the message names all of them.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(dict(texts))
    except ValidationError as error:
        raise _usage_error(error, model, texts, owner) from error


def changed(options: Options) -> list[str]:
    """Returns the smallest set of options that gives these values, as ``option=value``, in the order of the fields.

    It leaves out options at their defaults, options that follow from another one, such as a preset, locations, and the
    alias. The result depends only on the values, so equal options have equal texts.
    """
    standard, values = type(options)().model_dump(), options.model_dump()
    kept = {name: value for name, value in values.items() if value != standard[name]}
    for name in reversed(list(kept)):
        rest = {other: value for other, value in kept.items() if other != name}
        if _gives(type(options), rest, values):
            kept = rest
    shown = kept.keys() - options.locations - {options.alias}
    return [f"{name}={write_value(value)}" for name, value in options.model_dump(mode="json").items() if name in shown]


def _gives(model: type[Options], given: Mapping[str, object], values: Mapping[str, object]) -> bool:
    from pydantic import ValidationError

    try:
        return model.model_validate(given).model_dump() == values
    except ValidationError:
        return False


def _usage_error(error: ValidationError, model: type[Options], texts: Mapping[str, object], owner: str) -> UsageError:
    """Builds the error with everything that is wrong, in three lines."""
    unknown: list[str] = []
    wrong: dict[str, list[str]] = {}  # a union gives an error for each of its members
    for detail in error.errors(include_url=False):
        option = str(detail["loc"][0]) if detail["loc"] else ""
        if detail["type"] == "extra_forbidden":
            unknown.append(option)
            continue
        wrong.setdefault(option, []).append(_expectation(detail["msg"]))
    parts = [f"there is no option {option!r}" for option in unknown]
    for option, messages in wrong.items():
        expected = " or ".join(dict.fromkeys(messages)).replace(" or should be", " or")
        parts.append(f"option {option}={write_value(texts[option])} {expected}" if option in texts else expected)
    known = list(model.model_fields)
    hint = f"probebench show {owner.rpartition(' of ')[2]}"
    if unknown:
        hint = suggest(unknown[0], known, "options") if known else f"{owner} has no options"
    return UsageError("; ".join(parts).replace("\n", " "), where=owner, hint=hint)


def _expectation(message: str) -> str:
    """Returns pydantic's message without the parts that do not help a user."""
    text = message.removeprefix("Value error, ").removeprefix("Input ").partition(", unable to ")[0]
    return text.replace("a valid ", "a ").replace("a integer", "an integer")


def describe(options: Options) -> list[dict[str, str]]:
    """Returns name, type, default, value and description of each option, as text."""
    standard = type(options)().model_dump(mode="json")
    values = options.model_dump(mode="json")
    return [
        {
            "name": name,
            "type": " ".join([_type_name(field.annotation), *_limits(field.metadata)]),
            "default": write_value(standard[name]),
            "value": write_value(values[name]),
            "description": field.description or "",
        }
        for name, field in type(options).model_fields.items()
    ]


def _type_name(annotation: object) -> str:
    """Returns the name of a type for users of the command line."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "|".join(map(write_value, arguments))
    if origin is tuple:
        return f"{_type_name(arguments[0])}+..."
    if origin in (Union, UnionType):
        return "|".join(map(_type_name, arguments))
    if origin is Annotated:
        return _type_name(arguments[0])
    if annotation is NoneType:
        return "none"
    return getattr(annotation, "__name__", str(annotation))


def _limits(metadata: Iterable[object]) -> list[str]:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return [f"{sign}{getattr(item, name)}" for item in metadata for name, sign in signs.items() if hasattr(item, name)]
