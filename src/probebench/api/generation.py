"""Generation: the job of a sampler, and the contract of probes that measure generated images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from probebench.api.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from probebench.api.contracts import Backbone
    from probebench.api.types import Precision


class SampleOptions(Options):
    """Options that every measure of drawn images has; derive a probe's own from it.

    What is read through which network is decided here and not in the run: it is part of what the number means.
    """

    count: int = Field(2000, ge=2, description="images that are drawn")
    reference: Literal["train", "test"] = Field("test", description="split whose real images they are held against")
    sampling: str = Field("", description="options of the backbone's sampler, such as [sampler=ddim,steps=50]")
    extractor: str = Field("", description="backbone whose features are measured, such as [timm:model=...,weights=...]")
    point: str = Field("", description="TAP, TAP@LEVEL or TAP@LEVEL@POOL of the extractor; empty: its deepest tap")

    @field_validator("sampling")
    @classmethod
    def _in_order(cls, text: str) -> str:
        """Settings in the order of their names: what is written differently and means the same is one thing."""
        return ",".join(sorted(item.strip() for item in text.split(","))) if text else ""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images, and what the extractor makes of them.

    Attributes:
        images: uint8 ``(3, H, W)`` each, RGB, 0 to 255. One is read when it is asked for.
        features: float32 ``(N, D)``; row ``i`` belongs to image ``i``.
    """

    images: Sequence[Tensor]
    features: Tensor


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of a measure.

    Attributes:
        value: Finite.
        higher_is_better: Whether a larger value speaks for the drawn images.
        sd: Standard deviation over parts of the images, where the value is a mean over such parts.
    """

    value: float
    higher_is_better: bool = False
    sd: float | None = None


class SampleProbe(ABC):
    """A measure of drawn images against real ones; `ProbeSpec.consumes` is ``samples``.

    The core draws the images and reads their features. It calls `measure` twice: with drawn images, and with as many
    real ones that are not of the reference. The second is the floor that stands beside the value. So a measure must not
    depend on anything but its options and its two arguments, and equal arguments give equal numbers.
    """

    @abstractmethod
    def measure(self, drawn: ImageSet, real: ImageSet) -> Mapping[str, Measured]:
        """Measures.

        Args:
            drawn: The images in question.
            real: The reference.

        Returns:
            Numbers by short name, such as ``fid``; the first is the one that is reported. The core adds the number of
            images, the reference and the extractor to the name.

        Raises:
            UsageError: The images are too few for the options.
        """


@dataclass(frozen=True, slots=True)
class SamplingJob:
    """Which images to draw, from what, and how.

    A sampler takes one and yields ``(index, images)`` in batches of its own: numbers of this job's `index`, and uint8
    ``(B, 3, H, W)``, RGB, 0 to 255. Image ``i`` depends on the network, the options, `seed` and ``i`` alone, not on the
    batch it is drawn in, or a set that is drawn in parts is not the set that is drawn at once.

    Attributes:
        backbone: Built, not placed on a device yet.
        options: Validated options of the sampler (`BackboneSpec.sampling`).
        index: Numbers of the images, rising; those that are there already are not among them.
        seed: Seed of all noise.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` or ``bf16``, of the network's arithmetic; what lies between two of its calls is fp32.
        batch_size: Images that go through the network together.
        progress: Called as ``progress(images)`` with what was done since the last call, in images; a part of an image
            counts, so that a batch of many steps shows that it moves.
    """

    backbone: Backbone
    options: Options
    index: Sequence[int]
    seed: int
    device: str
    precision: Precision
    batch_size: int
    progress: Callable[[float], None] = field(default=lambda _: None)
