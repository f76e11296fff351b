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
    """Options of all probes that measure generated images; the options of such a probe derive from it.

    The extractor and its point are options of the probe, and not of the run, because the meaning of the number depends
    on them.
    """

    count: int = Field(2000, ge=2, description="number of generated images")
    reference: Literal["train", "test"] = Field("test", description="split of the real images to compare with")
    sampling: str = Field("", description="options of the backbone's sampler, such as [sampler=ddim,steps=50]")
    extractor: str = Field("", description="backbone that extracts the features, such as [timm:model=...,weights=...]")
    point: str = Field("", description="TAP, TAP@LEVEL or TAP@LEVEL@POOL of the extractor; empty: its deepest tap")

    @field_validator("sampling")
    @classmethod
    def _sort_settings(cls, text: str) -> str:
        """Sorts the settings by name, so that one sampling has one text."""
        return ",".join(sorted(item.strip() for item in text.split(","))) if text else ""


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images and their features.

    Attributes:
        images: Each uint8 ``(3, H, W)``, RGB, 0 to 255. An image is read when it is indexed.
        features: float32 ``(N, D)``; row ``i`` belongs to image ``i``.
    """

    images: Sequence[Tensor]
    features: Tensor


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of a measure.

    Attributes:
        value: A finite number.
        higher_is_better: Whether a larger value means better generated images.
        sd: Standard deviation over subsets of the images, if the value is a mean over subsets.
    """

    value: float
    higher_is_better: bool = False
    sd: float | None = None


class SampleProbe(ABC):
    """A probe that compares generated images with real ones; `ProbeSpec.consumes` is ``samples``.

    The core generates the images and extracts their features. It calls `measure` twice: with the generated images, and
    with the same number of real images that are not in the reference, which gives the baseline of the value. A measure
    depends only on its options and its two arguments, and equal arguments give equal numbers.
    """

    @abstractmethod
    def measure(self, generated: ImageSet, real: ImageSet) -> Mapping[str, Measured]:
        """Compares generated images with real ones.

        Args:
            generated: The images to measure.
            real: The reference.

        Returns:
            Numbers by short name, such as ``fid``; the first one is the primary. The core adds the number of images,
            the reference and the extractor to the name.

        Raises:
            UsageError: There are too few images for the options.
        """


@dataclass(frozen=True, slots=True)
class SamplingJob:
    """The job of a sampler: the images to generate, and how.

    A sampler takes a job and yields ``(index, images)`` batch by batch: numbers from the job's `index`, and uint8
    ``(B, 3, H, W)``, RGB, 0 to 255. Image ``i`` depends only on the network, the options, `seed` and ``i``, and not on
    its batch, so that images can be generated in several parts.

    Attributes:
        backbone: A backbone whose `move_to` was not called yet.
        options: Validated options of the sampler (`BackboneSpec.sampling`).
        index: Numbers of the images to generate, in ascending order. Images that exist already are left out.
        seed: Seed of all noise.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` or ``bf16``, for the network's arithmetic. Everything between its calls is in fp32.
        batch_size: Number of images in a forward pass.
        progress: Called as ``progress(images)`` with the number of images since the last call. Fractions are allowed,
            so that the bar advances during the steps of a batch.
    """

    backbone: Backbone
    options: Options
    index: Sequence[int]
    seed: int
    device: str
    precision: Precision
    batch_size: int
    progress: Callable[[float], None] = field(default=lambda _: None)
