"""`probebench schema`."""

from __future__ import annotations

from probebench.cli.output import print_json


def schema() -> None:
    """Prints the JSON Schema of a record."""
    from probebench.records.schema import Record

    print_json(Record.model_json_schema())
