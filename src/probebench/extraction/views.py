"""Views of a split's images: splits whose features are read, checked and stored like those of other images.

Padding and crop are those of CIFAR-10 training in He et al., Deep Residual Learning for Image Recognition, CVPR 2016:
4 pixels of 32.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from torch.nn.functional import pad

from probebench.api import Split
from probebench.util.hashing import digest
from probebench.util.seeding import hash63

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

T = TypeVar("T")


class View(Split):
    """A split whose images are changed, and whose labels are not.

    Args:
        split: The split.
        source: Its identity.
    """

    def __init__(self, split: Split, source: str) -> None:
        self._split, self._from = split, source

    def __len__(self) -> int:
        return len(self._split)

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """Returns what is done to the images, as JSON values."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Identity of the view: it seeds other noise than the split's."""

    def labels(self) -> Tensor:
        """Returns the labels of the split."""
        return self._split.labels()

    def fingerprint(self) -> str:
        """Returns a digest of the split's fingerprint and of what is done to the images."""
        return digest({"split": self._split.fingerprint(), "view": self.document()})


class Mirrored(View):
    """The mirrored images of a split."""

    @property
    def source(self) -> str:
        """Identity of the view."""
        return f"{self._from}/mirrored"

    def document(self) -> dict[str, Any]:
        """Returns what is done to the images."""
        return {"kind": "mirrored"}

    def image(self, index: int) -> Tensor:
        """Reads one image: uint8 ``(3, H, W)``."""
        return self._split.image(index).flip(2)


class Cropped(View):
    """A crop of each image, as large as the image, from the image padded with black by an eighth of its sides.

    Offset and mirroring of a crop depend on seed, source, index and number only.

    Args:
        split: The split.
        source: Its identity.
        number: Of the view; each has other crops.
        flips: Whether mirrored images belong to the dataset; then about half of the crops are mirrored.
        seed: Another seed gives other crops.
    """

    def __init__(self, split: Split, source: str, number: int, *, flips: bool, seed: int) -> None:
        super().__init__(split, source)
        self._number, self._flips, self._seed = number, flips, seed

    @property
    def source(self) -> str:
        """Identity of the view."""
        return f"{self._from}/crop{self._number}"

    def document(self) -> dict[str, Any]:
        """Returns what the crops depend on besides the images."""
        return {"kind": "crop", "number": self._number, "flips": self._flips, "seed": self._seed}

    def image(self, index: int) -> Tensor:
        """Reads one image: uint8 ``(3, H, W)``."""
        image = self._split.image(index)
        height, width = image.shape[1:]
        rows, columns = height // 8, width // 8
        # From SHA-256: the numbers of a library's generator may change with its version.
        numbers = [
            hash63("view", self._seed, self._from, index, self._number, part) for part in ("row", "column", "flip")
        ]
        top, left, mirrored = numbers[0] % (2 * rows + 1), numbers[1] % (2 * columns + 1), numbers[2] % 2
        crop = pad(image, (columns, columns, rows, rows))[:, top : top + height, left : left + width]
        return (crop.flip(2) if self._flips and mirrored else crop).contiguous()


def by_epoch(text: str, unchanged: T, views: Sequence[T]) -> tuple[T, ...]:
    """Returns what is trained on, in the order of the epochs; empty for unchanged images.

    Mirrored images take turns with the unchanged ones; with crops, nothing else is trained on.

    Args:
        text: As in `make_views`.
        unchanged: The images, in the form of the views.
        views: The result of `make_views`, or one object for each view.
    """
    return (unchanged, *views) if text == "flip" else tuple(views)


def make_views(text: str, split: Split, source: str, *, flips: bool, seed: int) -> tuple[View, ...]:
    """Returns the views that the option ``views`` of a probe names, without the unchanged images.

    Args:
        text: ``none``, ``flip`` or ``cropN``, as in `probebench.api.ViewOptions`.
        split: The split.
        source: Its identity.
        flips: Whether crops may be mirrored.
        seed: Of the crops.
    """
    if text == "none":
        return ()
    if text == "flip":
        return (Mirrored(split, source),)
    count = int(text.removeprefix("crop"))
    return tuple(Cropped(split, source, number, flips=flips, seed=seed) for number in range(count))
