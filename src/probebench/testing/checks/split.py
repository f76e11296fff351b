"""Checks of optional features of datasets: digests of images, and splits without labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.api import Dataset, ProbebenchError
from probebench.testing.checks.contract import Build, ConformanceError, require
from probebench.testing.checks.dataset import dataset_check

if TYPE_CHECKING:
    from probebench.api import Split

_SAMPLED = 32
_DIGEST_BYTES = 16


@dataset_check
def digests_match_the_images(build: Build[Dataset]) -> None:
    """Digests are 16 bytes for each image, equal in two builds, and equal for equal images only."""
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
        what = f"{name} has {len(digests)} digests for {len(split)} images, or some that are not 16 bytes"
        require(
            fine, what, hint="return hashlib.blake2b(..., digest_size=16).digest() of each image's shape and values"
        )
        again = second.split(name).digests()
        same = again is not None and list(again) == list(digests)
        require(same, f"two builds have {name} different digests", hint="let a digest depend on the image alone")
        for index in _evenly_spaced(split):
            image = split.image(index)
            position, known = images.setdefault(digests[index], (f"image {index} of {name}", image))
            what = f"image {index} of {name} has the digest of {position}, but is another image"
            require(torch.equal(known, image), what, hint="let a digest depend on all values of the image")
    contents: dict[bytes, tuple[str, bytes]] = {}
    for digest, (position, image) in images.items():
        other, known_digest = contents.setdefault(image.numpy().tobytes(), (position, digest))
        what = f"{position} is the same image as {other}, but has another digest"
        require(known_digest == digest, what, hint="let a digest depend on the image, not on its split or position")


@dataset_check
def unlabeled_images_have_no_labels(build: Build[Dataset]) -> None:
    """A split in `unlabeled` is not in `splits`, has images of the same type, and labels() raises a ProbebenchError."""
    dataset = build()
    shape = (3, *dataset.image_size)
    for name in dataset.unlabeled:
        require(name not in dataset.splits, f"{name} is also in splits", hint="name it in `unlabeled` only")
        split = dataset.split(name)
        image = split.image(len(split) - 1)
        fine = image.dtype == torch.uint8 and tuple(image.shape) == shape
        require(
            fine,
            f"an image of {name} is {image.dtype} {tuple(image.shape)}, not uint8 {shape}",
            hint="return images as in train",
        )
        try:
            split.labels()
        except ProbebenchError:
            continue
        except Exception as error:
            hint = "raise api.DataError, which states that there are no labels"
            raise ConformanceError(f"labels() of {name} raises {type(error).__name__}; {hint}") from error
        what = f"labels() of {name} returns labels, although the split is unlabeled"
        require(holds=False, what=what, hint="raise api.DataError")


def _evenly_spaced(split: Split) -> list[int]:
    """Returns at most 32 evenly spaced positions, with the first and the last image."""
    last = len(split) - 1
    return sorted({round(last * step / (_SAMPLED - 1)) for step in range(_SAMPLED)})
