"""The options of `probebench run`, as flags and as keys of a config file; all follow from `Request`."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.planning.request import OptionDeclaration, Request, declared_options
from probebench.util.config_file import load_config
from probebench.util.errors import UsageError, suggest
from probebench.util.parsing import parse_ints, parse_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from probebench.harness.study import PlannedTraining, Study

OPTIONS = {declared.name: declared for declared in declared_options(Request)}

_FLAG_TYPES: dict[str, object] = {
    "specs": list[str] | None,
    "words": str | None,
    "integers": str | None,
    "integer": int | None,
    "text": str | None,
    "switch": bool | None,
    "path": Path | None,
}
_FILE_TYPES: dict[str, tuple[type, str]] = {
    "specs": (list, "a list of strings"),
    "words": (list, "a list of strings"),
    "integers": (list, "a list of whole numbers"),
    "integer": (int, "a whole number"),
    "text": (str, "a string"),
    "switch": (bool, "true or false"),
    "path": (str, "a string"),
}
_EXAMPLES: dict[type, str] = {list: '["..."]', int: "20", str: '"..."', bool: "true"}
_TABLES = ("train", "run")


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command a parameter for each option of a run, in place of its ``**options``."""
    signature = inspect.signature(command, eval_str=True)
    kept = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    parameters = [*kept[:1], *map(_parameter, OPTIONS.values()), *kept[1:]]
    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    command.__signature__ = signature.replace(parameters=keyword_only)  # type: ignore[attr-defined]
    return command


def _parameter(declared: OptionDeclaration) -> inspect.Parameter:
    flags = [f"{declared.flag}/--no-{declared.flag[2:]}"] if declared.form == "switch" else []
    shown = declared.default.replace("`", "") or False
    info = typer.Option(*flags, help=declared.help, show_default=shown)
    annotation: Any = Annotated[_FLAG_TYPES[declared.form], info]
    return inspect.Parameter(declared.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def given_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of the command line that were given, as a config file would hold them.

    Raises:
        UsageError: A list is not written as one.
    """
    given = {name: value for name, value in options.items() if name in OPTIONS and value is not None}
    for name, value in given.items():
        declared = OPTIONS[name]
        if declared.form == "words":
            given[name] = list(parse_words(value, where=declared.flag))
        elif declared.form == "integers":
            given[name] = list(parse_ints(value, where=declared.flag))
    return given


def from_file(path: Path) -> dict[str, Any]:
    """Reads a config file.

    Raises:
        UsageError: It cannot be read, or a key or a value is wrong.
    """
    document = load_config(path, [*OPTIONS, *_TABLES])
    settings = _checked({name: value for name, value in document.items() if name in OPTIONS}, str(path))
    for kind in _TABLES:
        tables = document.get(kind, [])
        if not isinstance(tables, list):
            raise UsageError(f"{kind} is not a list of tables", where=str(path), hint=f"write [[{kind}]]")
        read = _training_options if kind == "train" else _run_options
        settings[kind] = [read(table, f"[[{kind}]] {number} of {path}") for number, table in enumerate(tables, start=1)]
    return settings


def _checked(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns the options of a table, each of the type that its declaration states."""
    settings: dict[str, Any] = {}
    for name, value in table.items():
        kind, described = _FILE_TYPES[OPTIONS[name].form]
        settings[name] = [value] if kind is list and not isinstance(value, list) else value
        _require(name, settings[name], kind, described, where)
        if OPTIONS[name].form in ("specs", "words"):
            # A level may be written as a number.
            items = [str(item) if name == "levels" else item for item in settings[name]]
            if any(not isinstance(item, str) for item in items):
                raise UsageError(f"{name} is not {described}", where=where, hint=f'{name} = ["...", "..."]')
            settings[name] = items
        elif OPTIONS[name].form == "integers" and any(type(item) is not int for item in settings[name]):
            raise UsageError(f"{name} is not {described}", where=where, hint=f"{name} = [0, 1, 2]")
    return settings


def _run_options(table: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 - any TOML value
    per_run = [name for name, declared in OPTIONS.items() if declared.per_run]
    if isinstance(table, dict) and (shared := [name for name in table if name in OPTIONS and name not in per_run]):
        raise UsageError(
            f"{shared[0]!r} cannot be set inside [[run]], because all runs share it",
            where=where,
            hint=f"move the line {shared[0]} = ... above the first table",
        )
    _check_table("run", table, per_run, where)
    return _checked(table, where)


def _training_options(table: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 - any TOML value
    known = dict(_training_fields())
    _check_table("train", table, list(known), where)
    for name, value in table.items():
        kind = int if known[name] == "int" else str
        _require(name, value, kind, "a whole number" if kind is int else "a string", where)
    if missing := [name for name in ("backbone", "epochs", "out") if name not in table]:
        raise UsageError(f"{missing[0]} is missing", where=where, hint=f"add {missing[0]} = ...")
    return dict(table)


def _training_fields() -> Iterator[tuple[str, str]]:
    from probebench.harness.study import PlannedTraining

    for one in fields(PlannedTraining):
        yield one.name, str(one.type)


def _check_table(kind: str, table: Any, known: list[str], where: str) -> None:  # noqa: ANN401 - any TOML value
    if not isinstance(table, dict):
        raise UsageError(f"{kind} is not a table", where=where, hint=f"write [[{kind}]], and its options below")
    for name in table:
        if name not in known:
            raise UsageError(f"unknown key {name!r}", where=where, hint=suggest(name, known))


def _require(name: str, value: object, kind: type, described: str, where: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{name} = {value!r} is not {described}", where=where, hint=f"{name} = {_EXAMPLES[kind]}")


def study_of(file: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Study:
    """Combines a config file and the command line.

    Args:
        file: Settings of a config file, checked. Those above its tables ``[[run]]`` hold for each of them.
        given: Options of the command line, which override both.
    """
    from probebench.harness.study import Study

    given = given or {}
    return Study(
        requests=tuple(_request({**file, **table}, given) for table in file.get("run") or [{}]),
        trainings=tuple(_training(table) for table in file.get("train", [])),
    )


def _training(table: Mapping[str, Any]) -> PlannedTraining:
    from probebench.harness.study import PlannedTraining

    return PlannedTraining(**{**table, "out": Path(table["out"])})


def _request(file: Mapping[str, Any], given: Mapping[str, Any]) -> Request:
    settings = {name: _value(OPTIONS[name], value) for name, value in {**file, **given}.items() if name in OPTIONS}
    replaced = "backbone" in file and "backbone" in given and not {"taps", "levels"} & given.keys()
    return Request(**settings, only_contender=not replaced)


def _value(declared: OptionDeclaration, value: Any) -> Any:  # noqa: ANN401 - by its declaration
    if declared.form == "path":
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
