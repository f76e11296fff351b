"""Options of a component: a frozen pydantic model without unknown fields."""

from __future__ import annotations

import re
from typing import Any, ClassVar, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Options(BaseModel):
    """Base class of the options of all components.

    Each field has a default and a description, which ``probebench show NAME`` prints. On the command line a tuple is
    written with plus signs: ``ddpm:widths=32+64+64+64``.

    Attributes:
        locations: Fields that hold a place on this machine, such as a folder. They are left out of titles, keys and
            records, because the fingerprint of the component identifies the content.
        alias: The name of a string field whose value replaces the name of the component in its title, unless it is
            empty. On a board the name of a folder is more informative than ``imagefolder``.
        added: Fields that were added after records were made, and whose default is the earlier behaviour. A field at
            its default is left out of keys and records, so that earlier records and features stay valid.
    """

    locations: ClassVar[frozenset[str]] = frozenset()
    alias: ClassVar[str] = ""
    added: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def excluded_fields(self) -> set[str]:
        """Returns the fields that keys and records leave out: `locations`, and `added` fields at their default."""
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
    """The options of components without options."""


_CROPS = re.compile(r"crop([1-9]\d{0,2})")


class ViewOptions(Options):
    """Options of probes that can be trained on views of the train images; the options of such a probe derive from it.

    The core extracts the features of the views once, stores them, and passes them as `Features.views`.
    """

    added: ClassVar[frozenset[str]] = frozenset({"views"})

    views: str = Field(
        "none",
        description="views of the train images, one for each epoch in turn. none: the image itself; flip: the image "
        "and its mirror image; cropN: N random crops of the image padded by an eighth, mirrored at random",
    )

    @field_validator("views")
    @classmethod
    def _view_exists(cls, text: str) -> str:
        if text not in ("none", "flip") and not _CROPS.fullmatch(text):
            raise ValueError("is not none, flip or cropN, such as crop10")
        return text

    @property
    def view_count(self) -> int:
        """Number of views of each image: 1 for ``none``."""
        crops = _CROPS.fullmatch(self.views)
        return int(crops[1]) if crops else 2 if self.views == "flip" else 1
