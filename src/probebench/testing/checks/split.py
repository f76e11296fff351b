"""The laws of what a dataset may have and need not: digests of its images, and splits without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api import Dataset, ProbebenchError
from probebench.testing.checks.contract import Build, ConformanceError, demand
from probebench.testing.checks.dataset import dataset_check

if TYPE_CHECKING:
    from probebench.api import Split

_LOOKED_AT = 32
_DIGEST_BYTES = 16


@dataset_check
def digests_are_those_of_the_images(build: Build[Dataset]) -> None:
    """Where a split gives digests, they are 16 bytes for each image, equal for two builds and for equal images only."""
    first, second = build(), build()
    images: dict[bytes, tuple[str, torch.Tensor]] = {}
    for name in first.splits:
        split = first.split(name)
        digests = split.digests()
        if digests is None:
            continue
        fine = len(digests) == len(split) and all(
            isinstance(digest, bytes) and len(digest) == _DIGEST_BYTES for digest in digests
        )
        what = f"{name} gives {len(digests)} digests for {len(split)} images, or some that are not 16 bytes"
        demand(fine, what, hint="give hashlib.blake2b(..., digest_size=16).digest() of each image's shape and values")
        again = second.split(name).digests()
        same = again is not None and list(again) == list(digests)
        demand(same, f"two builds give {name} different digests", hint="let a digest depend on the image alone")
        for index in _spread(split):
            image = split.image(index)
            place, known = images.setdefault(digests[index], (f"image {index} of {name}", image))
            what = f"image {index} of {name} has the digest of {place}, and is another image"
            demand(torch.equal(known, image), what, hint="let a digest depend on all values of the image")
    contents: dict[bytes, tuple[str, bytes]] = {}
    for digest, (place, image) in images.items():
        other, known_digest = contents.setdefault(image.numpy().tobytes(), (place, digest))
        what = f"{place} is the same image as {other}, and has another digest"
        demand(known_digest == digest, what, hint="let a digest depend on the image, not on its split or position")


@dataset_check
def unlabeled_images_have_no_labels(build: Build[Dataset]) -> None:
    """A split in `unlabeled` is none of `splits`, has images like theirs, and raises a ProbebenchError for labels()."""
    dataset = build()
    shape = (3, *dataset.image_size)
    for name in dataset.unlabeled:
        demand(name not in dataset.splits, f"{name} is in splits too", hint="name it in `unlabeled` only")
        split = dataset.split(name)
        image = split.image(len(split) - 1)
        fine = image.dtype == torch.uint8 and tuple(image.shape) == shape
        demand(fine, f"an image of {name} is {image.dtype} {tuple(image.shape)}, not uint8 {shape}", hint="as in train")
        try:
            split.labels()
        except ProbebenchError:
            continue
        except Exception as error:
            hint = "raise api.DataError that says that there are none"
            raise ConformanceError(f"labels() of {name} raises {type(error).__name__}; {hint}") from error
        what = f"labels() of {name} gives labels that nobody gave the images"
        demand(holds=False, what=what, hint="raise api.DataError")


def _spread(split: Split) -> list[int]:
    """At most 32 positions, from the first image to the last at even distances."""
    last = len(split) - 1
    return sorted({round(last * step / (_LOOKED_AT - 1)) for step in range(_LOOKED_AT)})
