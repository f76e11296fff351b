"""The noise that is added to images or latents before a network reads them: the option `noise`.

::

    per-sample   one noise sample per image, from the seed, the split and the image's position in it
    shared       one noise sample for all images
    mean         several noise samples per image; the features are averaged over them
    none         no noise
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.api import normal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from probebench.api import Batch
    from probebench_ddpm.options import DDPMOptions, LatentOptions


def noise_samples(
    options: DDPMOptions | LatentOptions, batch: Batch, shape: tuple[int, ...], *, seed: int
) -> Iterator[Tensor | None]:
    """Samples noise for a batch, once for each forward pass.

    The noise does not depend on t, so levels are compared on equal noise.

    Args:
        options: Its fields `noise` and `draws` are read.
        batch: The images.
        shape: Shape of the network's input for one image.
        seed: The noise seed.

    Yields:
        float32 ``(B, *shape)`` on the CPU; None for ``noise=none``.
    """
    if options.noise == "none":
        yield None
    elif options.noise == "shared":
        yield normal(shape, seed=seed, source="shared", index=[0]).expand(len(batch.index), *shape)
    else:
        for draw in range(options.draws if options.noise == "mean" else 1):
            yield normal(shape, seed=seed, source=batch.source, index=batch.index.tolist(), sample=draw)
