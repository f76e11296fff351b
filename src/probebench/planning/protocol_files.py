"""Protocol documents: TOML files with the settings of probes, their source, and what the source leaves open."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from probebench.util.errors import PluginError, suggest
from probebench.util.spec_text import write_value

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from typing import Self

    from probebench.api import ProtocolSpec

Text = Annotated[str, Field(min_length=1)]
Options = dict[str, JsonValue]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(_Model):
    """Where a protocol comes from."""

    work: Text = Field(description="Author, title, year, and where to find it.")
    section: str = Field("", description="Where in the work the settings are stated.")
    repository: str = Field("", description="Of the authors' code.")
    file: str = Field("", description="File in the repository that holds the settings.")


class ProbeRules(_Model):
    """The settings of one probe. Its table has the name of the probe, or another where a probe is run in two ways."""

    probe: str = Field("", description="Name of the probe; empty where the table has it.")
    pool: str = Field("", description="For this probe alone; empty for the document's.")
    version: Annotated[int, Field(ge=1)] = Field(description="Raised with every change of a setting.")
    options: Options = Field(description="Of the probe; the others keep their defaults.")
    datasets: dict[str, Options] = Field({}, description="Options that differ on the dataset of that name.")


class Choice(_Model):
    """A setting that the source leaves open."""

    field: Text = Field(description="``probes.NAME.OPTION``, ``pool``, ``taps``, ``levels``, or another word.")
    reading: Text = Field(description="Its value here.")
    reason: Text


class Departure(_Model):
    """A setting that differs from the source."""

    field: Text
    source: Text = Field(description="What the source does.")
    here: Text = Field(description="What is done here.")
    reason: Text


class Document(_Model):
    """A protocol document. Pool, taps and levels that it leaves out are chosen by the run."""

    name: Text
    summary: Text = Field(description="One line for `probebench protocol list`.")
    source: Source
    probes: Annotated[dict[str, ProbeRules], Field(min_length=1)]
    pool: str = ""
    taps: tuple[Text, ...] = ()
    levels: tuple[Text, ...] = ()
    open: tuple[Choice, ...] = ()
    departures: tuple[Departure, ...] = ()

    @model_validator(mode="after")
    def _check_readings(self) -> Self:
        values = settings(self)
        for choice in self.open:
            known = choice.field in values
            if choice.field.startswith("probes.") and not known:
                raise ValueError(f"open: {choice.field} is not among the settings")
            if known and choice.reading != values[choice.field]:
                raise ValueError(f"open: {choice.field} is {values[choice.field]} here, not {choice.reading}")
        return self


def settings(document: Document) -> dict[str, str]:
    """Returns every setting by its dotted name, as text, without the points that the run chooses."""
    points = {"pool": document.pool, "taps": write_value(document.taps), "levels": write_value(document.levels)}
    found = {name: value for name, value in points.items() if value}
    for probe, rules in document.probes.items():
        own = {"probe": rules.probe, "pool": rules.pool}
        found |= {f"probes.{probe}.{name}": value for name, value in own.items() if value}
        found |= {f"probes.{probe}.{name}": write_value(value) for name, value in rules.options.items()}
        for dataset, options in rules.datasets.items():
            found |= {
                f"probes.{probe}.datasets.{dataset}.{name}": write_value(value) for name, value in options.items()
            }
    return found


def read(spec: ProtocolSpec, origin: str) -> Document:
    """Reads the document of a protocol.

    Args:
        spec: The protocol.
        origin: Distribution and version that it comes from, for errors.

    Raises:
        PluginError: The file cannot be read, is not TOML, or is not a valid document; every fault is named.
    """
    import tomllib

    where = f"{spec.document} of {origin}"
    try:
        values = tomllib.loads(_file(spec.document).read_text(encoding="utf-8"))
    except (OSError, ImportError) as error:
        raise PluginError(f"protocol {spec.name} cannot be read: {error}", where=where) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PluginError(f"protocol {spec.name} is not TOML: {error}", where=where) from error
    try:
        document = Document.model_validate(values)
    except ValidationError as error:
        what, hint = _faults(error)
        raise PluginError(f"protocol {spec.name}: {what}", where=where, hint=hint) from error
    if document.name != spec.name:
        raise PluginError(
            f"the document of protocol {spec.name} has the name {document.name!r}",
            where=where,
            hint=f'name = "{spec.name}"',
        )
    return document


def _file(document: str | Path) -> Traversable:
    if isinstance(document, Path):
        return document
    package, _, path = document.partition(":")
    return files(package).joinpath(path)


def _faults(error: ValidationError) -> tuple[str, str | None]:
    """Returns all faults in one line, and a hint for the first key that is not known."""
    parts, hint = [], None
    for detail in error.errors(include_url=False):
        path = [str(step) for step in detail["loc"]]
        name = ".".join(path)
        if detail["type"] == "extra_forbidden":
            parts.append(f"unknown key {name}")
            hint = hint or suggest(path[-1], _keys(path[:-1]))
        elif detail["type"] == "missing":
            parts.append(f"{name} is missing")
        else:
            message = detail["msg"].removeprefix("Value error, ")
            parts.append(f"{name}: {message}" if name else message)
    return "; ".join(parts), hint


_TABLES: dict[str, type[_Model]] = {"source": Source, "probes": ProbeRules, "open": Choice, "departures": Departure}


def _keys(path: list[str]) -> list[str]:
    """Returns the keys of a table."""
    return list((_TABLES[path[0]] if path else Document).model_fields)
