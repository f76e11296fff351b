"""Reads and writes records and their predictions. A record is the JSON file of one finished or failed cell.

Reading needs no plugin, because a record contains names, options and numbers as data.
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

_RERUN = "delete the record and run its command again"

_SAME_ACCURACY = 1e-6  # the error of a mean in fp32 is 1e-7, and one image of a million is 1e-6

Migration = Callable[[dict[str, Any]], dict[str, Any]]

MIGRATIONS: dict[int, Migration] = {
    1: lambda document: document,  # version 2 adds cell.backbone.trained, which may be null
    2: lambda document: document,  # version 3 adds neighbours, optimism and soft_vote, which may be absent
}
"""Steps from a version to the next one. A new `SCHEMA_VERSION` needs a step, so that old records stay readable."""


def migrate(
    document: dict[str, Any], *, steps: dict[int, Migration] = MIGRATIONS, target: int = SCHEMA_VERSION
) -> dict[str, Any]:
    """Migrates the document of a record to the current schema, one version at a time.

    Raises:
        RecordError: The document has no version, a newer version, or a version without a step.
    """
    version = document.get("schema_version")
    if type(version) is not int:
        raise RecordError("the record has no schema_version", hint="check that the file is a record of probebench")
    if version > target:
        raise RecordError(
            f"the record has schema version {version}, and this probebench reads versions up to {target}",
            hint="update probebench",
        )
    while version < target:
        if version not in steps:
            raise RecordError(f"a record of schema version {version} cannot be read", hint=_RERUN)
        document = steps[version](document)
        version += 1
        document = {**document, "schema_version": version}
    return document


def to_json(record: Record) -> str:
    """Returns a record as JSON with sorted keys, an indent of two spaces and one newline at the end.

    Raises:
        ValueError: An option or parameter is NaN or an infinity.
    """
    document = record.model_dump(mode="python")  # mode "json" would write null for NaN
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_record(record: Record, path: Path) -> None:
    """Writes a record atomically.

    Raises:
        RecordError: The record is not valid JSON (NaN in an option), or the file cannot be written.
    """
    try:
        text = to_json(record)
    except ValueError as error:
        raise RecordError(f"the record cannot be written as JSON: {error}", where=str(path)) from error
    _write(path, text.encode())


def read_record(path: Path) -> Record:
    """Reads a record, of this schema version or an older one. No plugin is needed.

    Raises:
        RecordError: The file cannot be read, is not JSON, or does not fit the schema. The error names the first field.
    """
    try:
        document = json.loads(_read(path, "record"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise RecordError(f"the record is not valid JSON: {error}", where=str(path), hint=_RERUN) from error
    if not isinstance(document, dict):
        raise RecordError("the record is not a JSON object", where=str(path), hint=_RERUN)
    try:
        return Record.model_validate_json(json.dumps(migrate(document)))
    except RecordError as error:
        raise RecordError(error.what, where=str(path), hint=error.hint) from error
    except ValidationError as error:
        raise RecordError(_describe(error), where=str(path), hint=_RERUN) from error


def comparable(record: Record) -> dict[str, Any]:
    """Returns a record without the fields that differ in a repetition: times, memory, host and command line."""
    document = record.model_dump(mode="json", exclude={"timing", "peak_memory_mb"})
    for field in ("created", "argv", "device_name", "platform"):
        del document["provenance"][field]
    return document


def write_predictions(record_path: Path, predicted: ArrayLike, label: ArrayLike) -> Artifact:
    """Writes the per-image predictions of a record to a safetensors file in the same folder.

    Args:
        record_path: Path of the record, which need not exist yet.
        predicted: Predicted class of each test image ``(N,)``, in the order of the split.
        label: True class of each test image ``(N,)``.

    Returns:
        The entry for the record.

    Raises:
        RecordError: Shapes differ, a class does not fit in 16 bits, or the file cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    path = record_path.with_suffix(".predictions.safetensors")
    classes, truth = np.asarray(predicted), np.asarray(label)
    if classes.ndim != 1 or classes.shape != truth.shape:
        raise RecordError(
            f"predictions and labels have the shapes {classes.shape} and {truth.shape}, not (N,)", where=str(path)
        )
    for array in (classes, truth):
        if array.size and not 0 <= array.min() <= array.max() <= np.iinfo(np.uint16).max:
            raise RecordError(f"classes from {array.min()} to {array.max()} do not fit in 16 bits", where=str(path))
    data = save({"predicted": classes.astype(np.uint16), "label": truth.astype(np.uint16), "correct": classes == truth})
    _write(path, data)
    return Artifact(file=path.name, sha256=hashlib.sha256(data).hexdigest())


def read_predictions(record: Record, record_path: Path) -> tuple[NDArray[np.uint16], NDArray[np.bool_]]:
    """Reads the per-image predictions of a record: class ``(N,)``, and whether it is correct ``(N,)``.

    Raises:
        RecordError: The record has no predictions, the file is missing or altered, or it contradicts the number of test
            images or the top-1 accuracy of the record.
    """
    arrays = _predictions(record, record_path)
    return arrays["predicted"], arrays["correct"]


def read_predictions_and_labels(record: Record, record_path: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Reads the predicted class of each test image of a record ``(N,)``, and the true class ``(N,)``.

    Raises:
        RecordError: As `read_predictions`, or the record was made before the true classes were stored, or they
            contradict the predictions.
    """
    arrays = _predictions(record, record_path)
    if "label" not in arrays:
        raise RecordError(
            "the predictions were written by a version of probebench that did not store the true classes",
            where=str(record_path),
            hint=_RERUN,
        )
    predicted, label = arrays["predicted"], arrays["label"]
    classes = len(record.cell.dataset.classes)
    same = predicted.shape == label.shape and ((predicted == label) == arrays["correct"]).all()
    if not same or max(predicted.max(), label.max()) >= classes:
        raise RecordError(
            f"the predictions contradict their labels, or the {classes} classes of the record",
            where=str(record_path),
            hint=_RERUN,
        )
    return predicted, label


def _predictions(record: Record, record_path: Path) -> dict[str, NDArray[Any]]:
    """Reads the arrays of the predictions file, and checks them against the record."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if record.predictions is None:
        raise RecordError("the record has no predictions", where=str(record_path), hint=_RERUN)
    path = record_path.parent / record.predictions.file
    data = _read(path, "predictions")
    if hashlib.sha256(data).hexdigest() != record.predictions.sha256:
        raise RecordError("the predictions are not those of the record", where=str(path), hint=_RERUN)
    try:
        arrays: dict[str, NDArray[Any]] = load(data)
        missing = {"predicted", "correct"} - arrays.keys()
    except SafetensorError as error:
        raise RecordError(f"the predictions cannot be read: {error}", where=str(path), hint=_RERUN) from error
    if missing:
        what = f"the predictions have no {' and no '.join(sorted(missing))}"
        raise RecordError(what, where=str(path), hint=_RERUN)
    _check_against(record, arrays["correct"], path)
    return arrays


def _check_against(record: Record, correct: NDArray[np.bool_], path: Path) -> None:
    """Raises an error unless the predictions give the number of images and the top-1 accuracy of the record."""
    count = record.parts["test"].count if "test" in record.parts else len(correct)
    if correct.shape != (count,):
        what = f"the predictions are of {len(correct)} images, and the record is of {count}"
        raise RecordError(what, where=str(path), hint=_RERUN)
    top1 = record.metrics.get("top1")
    if top1 is not None and abs(float(correct.mean()) - top1.value) > _SAME_ACCURACY:
        what = f"the predictions give a top-1 accuracy of {correct.mean():.4f}, and the record has {top1.value:.4f}"
        raise RecordError(what, where=str(path), hint=_RERUN)


def _write(path: Path, data: bytes) -> None:
    try:
        write_bytes(path, data)
    except OSError as error:
        hint = "free some space, or give --results a folder in which you may create files"
        what = f"the file cannot be written: {error.strerror or error}"
        raise RecordError(what, where=str(path), hint=hint) from error


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"the {what} cannot be read: {error.strerror or error}", where=str(path)) from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _describe(error: ValidationError) -> str:
    """Names the first wrong field, and the number of further errors."""
    errors = error.errors(include_url=False)
    field = ".".join(str(part) for part in errors[0]["loc"]) or "record"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{field}: {errors[0]['msg']}{more}"
