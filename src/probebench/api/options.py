"""Options of a component: a frozen pydantic model that refuses what it does not know."""

from __future__ import annotations

import re
from typing import Any, ClassVar, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Options(BaseModel):
    """Base class of every component's options.

    Give each field a default and a description; ``probebench show NAME`` prints them. On the command line
    a tuple is written with plus signs: ``ddpm:widths=32+64+64+64``.

    Attributes:
        locations: Fields that say where something lies on this machine, such as a folder, and not what it is. They are
            left out of titles, keys and records: the content is what the component's fingerprint is for.
        alias: The field, a string, whose value stands for the component's name in its title, where it is not empty:
            a folder's own name says more on a board than ``imagefolder``.
        added: Fields that a component got after records of it were made, and whose default is what it did before. At
            its default such a field is left out of keys and records, so that learning something new makes nothing old.
    """

    locations: ClassVar[frozenset[str]] = frozenset()
    alias: ClassVar[str] = ""
    added: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def unsaid(self) -> set[str]:
        """The fields that keys and records leave out: `locations`, and those of `added` that are at their default."""
        fields = type(self).model_fields
        return {*self.locations, *(name for name in self.added if getattr(self, name) == fields[name].default)}

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


_CROPS = re.compile(r"crop([1-9]\d{0,2})")


class ViewOptions(Options):
    """Options of a probe that can be trained on views of the train images; derive its own from it.

    The core reads the views' features once, keeps them in the store, and hands them over as `Features.views`.
    """

    added: ClassVar[frozenset[str]] = frozenset({"views"})

    views: str = Field(
        "none",
        description="of the train images, one an epoch, in turns: none, the image as it is; flip, the image and its "
        "mirror image; cropN, N random crops of the image padded by an eighth, mirrored at random",
    )

    @field_validator("views")
    @classmethod
    def _there_are_such(cls, text: str) -> str:
        if text not in ("none", "flip") and not _CROPS.fullmatch(text):
            raise ValueError("is not none, flip or cropN, such as crop10")
        return text

    @property
    def view_count(self) -> int:
        """How many an image has: 1 where it is taken as it is."""
        crops = _CROPS.fullmatch(self.views)
        return int(crops[1]) if crops else 2 if self.views == "flip" else 1
