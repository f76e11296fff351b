"""Options of a component: a frozen pydantic model that refuses what it does not know."""

from __future__ import annotations

from typing import Any, get_origin

from pydantic import BaseModel, ConfigDict, model_validator


class Options(BaseModel):
    """Base class of every component's options.

    Give each field a default and a description; ``probebench show NAME`` prints them. On the command line
    a tuple is written with plus signs: ``ddpm:widths=32+64+64+64``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _split_tuples(cls, data: Any) -> Any:  # noqa: ANN401 - raw input of any shape
        if not isinstance(data, dict):
            return data
        tuples = {name for name, field in cls.model_fields.items() if get_origin(field.annotation) is tuple}
        return {
            name: value.split("+") if name in tuples and isinstance(value, str) else value
            for name, value in data.items()
        }


class NoOptions(Options):
    """For components without options."""
