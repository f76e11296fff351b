"""Views of a split's images, as splits of their own: read, checked and stored as those of any images are.

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
        split: The images.
        source: Its identity.

    Attributes:
        source: That of the view: noise is drawn anew for each.
    """

    def __init__(self, split: Split, source: str) -> None:
        self._split, self._from = split, source

    def __len__(self) -> int:
        return len(self._split)

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """What is done to the images."""

    @property
    @abstractmethod
    def source(self) -> str:
        """Identity of the view."""

    def labels(self) -> Tensor:
        """Those of the split."""
        return self._split.labels()

    def fingerprint(self) -> str:
        """Over the split's and what is done to its images."""
        return digest({"split": self._split.fingerprint(), "view": self.document()})


class Mirrored(View):
    """Every image, mirrored."""

    @property
    def source(self) -> str:
        """Identity of the view."""
        return f"{self._from}/mirrored"

    def document(self) -> dict[str, Any]:
        """The name says it all."""
        return {"kind": "mirrored"}

    def image(self, index: int) -> Tensor:
        """One image: uint8 ``(3, H, W)``."""
        return self._split.image(index).flip(2)


class Cropped(View):
    """A crop of every image, of its own size, from the image with black around it: an eighth of a side at each end.

    Where the crop lies, and whether it is mirrored, depends on seed, source, position and number alone.

    Args:
        split: The images.
        source: Its identity.
        number: Of the view: each has other crops.
        flips: Whether a mirrored image is one of the dataset; then every second crop is mirrored, at random.
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
        """All that its images depend on, but for those they are made from."""
        return {"kind": "crop", "number": self._number, "flips": self._flips, "seed": self._seed}

    def image(self, index: int) -> Tensor:
        """One image: uint8 ``(3, H, W)``."""
        image = self._split.image(index)
        height, width = image.shape[1:]
        rows, columns = height // 8, width // 8
        # One number for each choice: another library's generator would crop otherwise.
        drawn = [
            hash63("view", self._seed, self._from, index, self._number, part) for part in ("row", "column", "flip")
        ]
        top, left, mirrored = drawn[0] % (2 * rows + 1), drawn[1] % (2 * columns + 1), drawn[2] % 2
        crop = pad(image, (columns, columns, rows, rows))[:, top : top + height, left : left + width]
        return (crop.flip(2) if self._flips and mirrored else crop).contiguous()


def by_epoch(text: str, as_they_are: T, views: Sequence[T]) -> tuple[T, ...]:
    """What is trained on, epoch by epoch; empty where images are taken as they are.

    A mirror image goes in turns with the image; crops are all that is trained on.

    Args:
        text: As in `views`.
        as_they_are: The images, in the form of the views.
        views: What `views` gives, or something made of each.
    """
    return (as_they_are, *views) if text == "flip" else tuple(views)


def make_views(text: str, split: Split, source: str, *, flips: bool, seed: int) -> tuple[View, ...]:
    """The views that an option of a probe means, but for the images as they are.

    Args:
        text: ``none``, ``flip`` or ``cropN``, as `probebench.api.ViewOptions` has it.
        split: The images.
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
