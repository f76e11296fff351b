"""What `probebench sample` hands to a backbone's sampler."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probebench.api.contracts import Backbone
    from probebench.api.options import Options
    from probebench.api.types import Precision


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
