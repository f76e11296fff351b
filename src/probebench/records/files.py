"""Records: the JSON file of one finished or failed cell, checked on write and on read.

Reading needs no plugin: a record keeps names, options and numbers as data, so it outlives the package that
made it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from probebench.records.schema import SCHEMA_VERSION, Artifact, Record
from probebench.util.errors import RecordError
from probebench.util.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_REPAIR = "remove the file, or run its cell again"

_SAME_ACCURACY = 1e-6  # a mean in fp32 is off by 1e-7, one image of a million by 1e-6

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: dict[int, Migration] = {
    1: lambda document: document,  # 2 adds cell.backbone.trained, which is null where nothing tells
    2: lambda document: document,  # 3 adds neighbours, optimism and soft_vote, which no older record has
}
"""From a version to the next one. Whoever raises `SCHEMA_VERSION` adds a step: old records stay readable."""


def migrate(
    document: dict[str, Any], *, steps: dict[int, Migration] = MIGRATIONS, target: int = SCHEMA_VERSION
) -> dict[str, Any]:
    """Brings a record's document to the present schema, one version at a time.

    Raises:
        RecordError: It has no version, one that no step leads from, or one that is not known yet.
    """
    version = document.get("schema_version")
    if type(version) is not int:
        raise RecordError("record has no schema_version", hint="check that the file is a probebench record")
    if version > target:
        raise RecordError(
            f"record has schema version {version}, this probebench knows up to {target}",
            hint="update probebench",
        )
    while version < target:
        if version not in steps:
            raise RecordError(f"schema version {version} cannot be migrated", hint="run the cell again")
        document = steps[version](document)
        version += 1
        document = {**document, "schema_version": version}
    return document


def to_json(record: Record) -> str:
    """The text of a record's file: sorted keys, two spaces, one newline at the end.

    Raises:
        ValueError: An option or parameter holds NaN or an infinity.
    """
    document = record.model_dump(mode="python")  # mode "json" would turn NaN into null without a word
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_record(record: Record, path: Path) -> None:
    """Writes a record atomically.

    Raises:
        RecordError: It is not valid JSON (NaN in an option), or the file cannot be written.
    """
    try:
        text = to_json(record)
    except ValueError as error:
        raise RecordError(f"record cannot be written as JSON: {error}", where=str(path)) from error
    _write(path, text.encode())


def read_record(path: Path) -> Record:
    """Reads a record, of this schema version or an older one. No plugin is needed.

    Raises:
        RecordError: The file cannot be read, is no JSON, or breaks the schema: names the first wrong field.
    """
    try:
        document = json.loads(_read(path, "record"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise RecordError(f"record is not valid JSON: {error}", where=str(path), hint=_REPAIR) from error
    if not isinstance(document, dict):
        raise RecordError("record is not a JSON object", where=str(path), hint=_REPAIR)
    try:
        return Record.model_validate_json(json.dumps(migrate(document)))
    except RecordError as error:
        raise RecordError(error.what, where=str(path), hint=error.hint) from error
    except ValidationError as error:
        raise RecordError(_first_fault(error), where=str(path), hint="run the cell again") from error


def comparable(record: Record) -> dict[str, Any]:
    """A record without what differs between two honest repetitions: times, memory, host and command line."""
    document = record.model_dump(mode="json", exclude={"timing", "peak_memory_mb"})
    for field in ("created", "argv", "device_name", "platform"):
        del document["provenance"][field]
    return document


def write_predictions(record_path: Path, predicted: ArrayLike, label: ArrayLike) -> Artifact:
    """Writes the per-image predictions beside a record, as safetensors.

    Args:
        record_path: Where the record is, or will be.
        predicted: Class given to each test image ``(N,)``, in the order of the split.
        label: Its true class ``(N,)``.

    Returns:
        The artifact to put into the record.

    Raises:
        RecordError: Shapes differ, a class does not fit in 16 bits, or the file cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    path = record_path.with_suffix(".predictions.safetensors")
    classes, truth = np.asarray(predicted), np.asarray(label)
    if classes.ndim != 1 or classes.shape != truth.shape:
        raise RecordError(f"predictions have shapes {classes.shape} and {truth.shape}, not (N,)", where=str(path))
    for found in (classes, truth):
        if found.size and not 0 <= found.min() <= found.max() <= np.iinfo(np.uint16).max:
            raise RecordError(f"classes {found.min()} .. {found.max()} do not fit in 16 bits", where=str(path))
    data = save({"predicted": classes.astype(np.uint16), "label": truth.astype(np.uint16), "correct": classes == truth})
    _write(path, data)
    return Artifact(file=path.name, sha256=hashlib.sha256(data).hexdigest())


def read_predictions(record: Record, record_path: Path) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """The per-image predictions of a record: class ``(N,)`` and whether it is right ``(N,)``.

    Raises:
        RecordError: The record has none, the file is missing or not the one the record was made with, or it does not
            give the record's number of test images and top-1.
    """
    arrays = _predictions(record, record_path)
    return arrays["predicted"], arrays["correct"]


def read_labelled(record: Record, record_path: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """The class given to each test image of a record ``(N,)``, and the true one ``(N,)``.

    Raises:
        RecordError: As `read_predictions`, or the record was made before the true classes were kept, or they
            contradict the rest.
    """
    arrays = _predictions(record, record_path)
    if "label" not in arrays:
        raise RecordError(
            "the predictions were written before true classes were kept with them",
            where=str(record_path),
            hint="remove the record and run the cell again",
        )
    predicted, label = arrays["predicted"], arrays["label"]
    classes = len(record.cell.dataset.classes)
    same = predicted.shape == label.shape and ((predicted == label) == arrays["correct"]).all()
    if not same or max(predicted.max(), label.max()) >= classes:
        raise RecordError(
            f"predictions contradict themselves, or the record's {classes} classes",
            where=str(record_path),
            hint="remove the record and run the cell again",
        )
    return predicted, label


def _predictions(record: Record, record_path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the file, which is that of the record and agrees with it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if record.predictions is None:
        raise RecordError("record has no predictions", where=str(record_path), hint="run the cell again")
    path = record_path.parent / record.predictions.file
    data = _read(path, "predictions")
    if hashlib.sha256(data).hexdigest() != record.predictions.sha256:
        raise RecordError("predictions are not those of the record", where=str(path), hint="run the cell again")
    try:
        arrays: dict[str, NDArray[Any]] = load(data)
        missing = {"predicted", "correct"} - arrays.keys()
    except SafetensorError as error:
        raise RecordError(f"predictions cannot be read: {error}", where=str(path)) from error
    if missing:
        raise RecordError(f"predictions cannot be read: no {' and no '.join(sorted(missing))}", where=str(path))
    _check_against(record, arrays["correct"], path)
    return arrays


def _check_against(record: Record, correct: NDArray[np.bool_], path: Path) -> None:
    """A number that its own predictions do not give is not to be ranked."""
    count = record.parts["test"].count if "test" in record.parts else len(correct)
    if correct.shape != (count,):
        raise RecordError(f"predictions are for {len(correct)} images, the record for {count}", where=str(path))
    top1 = record.metrics.get("top1")
    if top1 is not None and abs(float(correct.mean()) - top1.value) > _SAME_ACCURACY:
        what = f"predictions give a top-1 of {correct.mean():.4f}, the record says {top1.value:.4f}"
        raise RecordError(what, where=str(path), hint="run the cell again")


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except OSError as error:
        hint = "give a folder that can be written, with space left"
        raise RecordError(f"cannot write: {error.strerror or error}", where=str(path), hint=hint) from error


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"cannot read the {what}: {error.strerror or error}", where=str(path)) from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _first_fault(error: ValidationError) -> str:
    faults = error.errors(include_url=False)
    field = ".".join(str(part) for part in faults[0]["loc"]) or "record"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{field}: {faults[0]['msg']}{more}"
