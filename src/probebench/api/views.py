"""Views of train images, for probes that are trained on more than the images as they are."""

from __future__ import annotations

import re
from typing import ClassVar

from pydantic import Field, field_validator

from probebench.api.options import Options

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
