"""The options of `probebench run`, from its config file and from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from probebench.util.config_file import load_config
from probebench.util.defaults import DEFAULT_BACKBONE, DEFAULT_DATASET, DEFAULT_PROBE, DEFAULT_RESULTS, default_store
from probebench.util.errors import UsageError, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probebench.harness.study import PlannedTraining, Study
    from probebench.planning.request import Request

_PLACES = ("results", "store", "boards", "plots")

KEYS: dict[str, type] = {
    "backbone": list,
    "dataset": list,
    "probe": list,
    "protocol": list,
    "taps": list,
    "levels": list,
    "pool": str,
    "seeds": list,
    "limit": int,
    "noise_seed": int,
    "precision": str,
    "device": str,
    "baselines": bool,
    "optimism": bool,
    "soft_vote": bool,
    "results": str,
    "store": str,
    "boards": str,
    "plots": str,
    "train": list,
    "run": list,
}
"""What a config file may hold: options of the command, lists as TOML lists; tables ``[[train]]`` and ``[[run]]``."""

RUN_KEYS = {name: kind for name, kind in KEYS.items() if name not in {"limit", *_PLACES, "train", "run"}}
"""What a table ``[[run]]`` may hold: what is read, of what, and how. Where things lie is the same for all runs."""

TRAIN_KEYS: dict[str, type] = {
    "backbone": str,
    "epochs": int,
    "out": str,
    "dataset": str,
    "split": str,
    "recipe": str,
    "seed": int,
    "device": str,
    "precision": str,
}
"""What such a table may hold: options of ``probebench train``."""

_TYPE_NAMES = {str: "a text", int: "a whole number", bool: "true or false"}


def from_file(path: Path) -> dict[str, Any]:
    """Reads a config file.

    Raises:
        UsageError: It cannot be read, or a key or a value is wrong.
    """
    settings = _read_options(load_config(path, KEYS), str(path))
    for number, table in enumerate(settings.get("train", []), start=1):
        _check_training(table, f"[[train]] {number} of {path}")
    settings["run"] = [
        _run_options(table, f"[[run]] {number} of {path}")
        for number, table in enumerate(settings.get("run", []), start=1)
    ]
    return settings


def _read_options(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options of ``probebench run`` whose names are known, each as its type says."""
    settings = {
        name: [value] if KEYS[name] is list and not isinstance(value, list) else value for name, value in table.items()
    }
    for name, value in settings.items():
        if KEYS[name] is not list:
            _require(name, value, KEYS[name], where)
    if "levels" in settings:
        settings["levels"] = [str(level) for level in settings["levels"]]
    if any(not isinstance(seed, int) or isinstance(seed, bool) for seed in settings.get("seeds", [])):
        raise UsageError("seeds are whole numbers", where=where, hint="seeds = [0, 1, 2]")
    for name in ("backbone", "dataset", "probe", "protocol", "taps"):
        if any(not isinstance(text, str) for text in settings.get(name, [])):
            raise UsageError(f"{name} is not a list of texts", where=where, hint=f'{name} = ["...", "..."]')
    return settings


def _run_options(table: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 - any TOML value
    if isinstance(table, dict) and (shared := [name for name in table if name in KEYS and name not in RUN_KEYS]):
        raise UsageError(f"{shared[0]!r} is the same for all runs", where=where, hint="write it above the tables")
    _check_table("run", table, RUN_KEYS, where)
    return _read_options(table, where)


def _check_training(table: Any, where: str) -> None:  # noqa: ANN401 - any TOML value
    _check_table("train", table, TRAIN_KEYS, where)
    for name, value in table.items():
        _require(name, value, TRAIN_KEYS[name], where)
    if missing := [name for name in ("backbone", "epochs", "out") if name not in table]:
        raise UsageError(f"{missing[0]} is missing", where=where, hint="a training needs backbone, epochs and out")


def _check_table(kind: str, table: Any, keys: Mapping[str, type], where: str) -> None:  # noqa: ANN401 - any TOML value
    if not isinstance(table, dict):
        raise UsageError(f"{kind} is not a table", where=where, hint=f"[[{kind}]], and below it its options")
    for name in table:
        if name not in keys:
            raise UsageError(f"unknown key {name!r}", where=where, hint=suggest(name, keys))


def _require(name: str, value: object, kind: type, where: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{name} = {value!r} is not {_TYPE_NAMES[kind]}", where=where)


def study_of(file: Mapping[str, Any], given: Mapping[str, Any] | None = None) -> Study:
    """What is to be done.

    Args:
        file: A config file's settings, checked. What stands above its tables ``[[run]]`` holds for each of them.
        given: Options of the command line, which win over both.
    """
    from probebench.harness.study import Study

    given = given or {}
    settings = {**file, **given}
    boards, plots = settings.get("boards"), settings.get("plots")
    return Study(
        requests=tuple(_request({**file, **table}, given) for table in file.get("run") or [{}]),
        trainings=tuple(_training(table) for table in settings.get("train", [])),
        boards=Path(boards) if boards else None,
        plots=Path(plots) if plots else None,
    )


def _training(table: Mapping[str, Any]) -> PlannedTraining:
    from probebench.harness.study import PlannedTraining

    return PlannedTraining(**{**table, "out": Path(table["out"])})


def _request(file: Mapping[str, Any], given: Mapping[str, Any]) -> Request:
    from probebench.planning.request import Request

    settings = {**file, **given}
    return Request(
        backbones=tuple(settings.get("backbone", [DEFAULT_BACKBONE])),
        datasets=tuple(settings.get("dataset", [DEFAULT_DATASET])),
        probes=tuple(settings.get("probe", [] if settings.get("protocol") else [DEFAULT_PROBE])),
        protocols=tuple(settings.get("protocol", [])),
        results=Path(settings.get("results", DEFAULT_RESULTS)),
        store=Path(settings.get("store", default_store())),
        seeds=tuple(settings.get("seeds", [0])),
        taps=tuple(settings.get("taps", [])),
        levels=tuple(settings.get("levels", [])),
        pool=settings.get("pool", ""),
        limit=settings.get("limit"),
        noise_seed=settings.get("noise_seed", 0),
        precision=settings.get("precision", "auto"),
        device=settings.get("device", "auto"),
        baselines=settings.get("baselines", True),
        optimism=settings.get("optimism", False),
        soft_vote=settings.get("soft_vote", False),
        borrowed="backbone" in file and "backbone" in given and not {"taps", "levels"} & given.keys(),
    )
