"""Oxford Flowers-102, as published: one folder of JPEG files, and two MATLAB files that say what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.io import loadmat

from probebench.api import DataError, Dataset, UsageError
from probebench_datasets.downloads import checksums
from probebench_datasets.downloads.download import download
from probebench_datasets.downloads.unpack import unpack
from probebench_datasets.images.decoded_images import DecodedImages, DecodedSplit
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.paths import data_root
from probebench_datasets.user_data.folder_listing import FilePictures

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from probebench_datasets.downloads.download import Progress
    from probebench_datasets.options import Flowers102Options

URL: Final = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
ARCHIVE: Final = ("102flowers.tgz", "52808999861908f626f3c1f4e79d11fa")
LABELS: Final = ("imagelabels.mat", "e0620be6f572b9609742df49c70aed4d")
SPLITS: Final = ("setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c")

_KEYS: Final = {"train": "trnid", "val": "valid", "test": "tstid"}

_COMMAND: Final = "probebench data download flowers102"


class Flowers102(Dataset):
    """8,189 photographs of 102 kinds of flowers: 1,020 to train, 1,020 to validate, 6,149 to test on.

    The classes of test are uneven, from 20 to 238 images, so rows are ranked by the mean of the classes' accuracies.
    The photographs differ in size, from 500 pixels upwards, so `image_size` has a default: 64 is what small diffusion
    models are trained at, and 100 MB for all images. Backbones trained on ImageNet want 224.
    """

    metric = "mean_per_class"

    def __init__(self, options: Flowers102Options) -> None:
        folder = _folder(options)
        _require(folder, options)
        labels = _labels(folder)
        self.classes = NAMES
        self.image_size = (options.image_size, options.image_size)
        decoder = Decoder(options.image_size)
        self._splits = {}
        for split, numbers in _numbers(folder).items():
            pictures = FilePictures([str(_picture(folder, number)) for number in numbers.tolist()])
            images = DecodedImages(pictures, decoder, f"flowers102/{split}")
            self._splits[split] = DecodedSplit(images, labels[numbers - 1])
        self.splits = tuple(self._splits)

    def split(self, name: str) -> DecodedSplit:
        """``train``, ``val`` or ``test``; images are in the order of ``setid.mat``."""
        if name not in self._splits:
            raise UsageError(f"no split {name!r}", hint=" or ".join(self._splits))
        return self._splits[name]


def fetch(options: Flowers102Options, progress: Progress) -> None:
    """Downloads what is missing: 345 MB, of which the archive is deleted when it is unpacked.

    Raises:
        DataError: Something cannot be downloaded, is not what it should be, or cannot be written.
    """
    folder = _folder(options)
    for name, md5 in (LABELS, SPLITS):
        download(URL + name, folder / name, md5=md5, progress=progress)
    if _missing(folder):
        name, md5 = ARCHIVE
        ours = not (folder / name).exists()
        download(URL + name, folder / name, md5=md5, progress=progress)
        unpack(folder / name, folder, progress=progress)
        if ours:
            (folder / name).unlink()


def _folder(options: Flowers102Options) -> Path:
    return (data_root(options.root) / "flowers-102").absolute()


def _picture(folder: Path, number: int) -> Path:
    return folder / "jpg" / f"image_{number:05d}.jpg"


def _labels(folder: Path) -> NDArray[np.int64]:
    """Of all images in the order of their numbers, counted from 0."""
    numbers: NDArray[np.int64] = loadmat(folder / LABELS[0])["labels"].ravel().astype(np.int64)
    return numbers - 1


def _numbers(folder: Path) -> dict[str, NDArray[np.int64]]:
    """Numbers of the images of each split, counted from 1 as in the files' names."""
    sets = loadmat(folder / SPLITS[0])
    return {split: sets[key].ravel().astype(np.int64) for split, key in _KEYS.items()}


def _missing(folder: Path) -> list[str]:
    """Pictures that are not there."""
    wanted = np.concatenate(list(_numbers(folder).values()))
    there = {path.name for path in (folder / "jpg").glob("*.jpg")}
    return [name for number in sorted(wanted.tolist()) if (name := _picture(folder, number).name) not in there]


def _require(folder: Path, options: Flowers102Options) -> None:
    """Raises an error unless all files are there, and those that say what they are are the published ones."""
    command = _COMMAND + (f":root={options.root}" if options.root else "")
    by_hand = f"{command}; or put {LABELS[0]}, {SPLITS[0]} and jpg/ of {ARCHIVE[0]} from {URL} there"
    for name, md5 in (LABELS, SPLITS):
        if not (folder / name).is_file():
            raise DataError(f"flowers102 is not on this machine: {name} is missing", where=str(folder), hint=by_hand)
        checksums.require(folder / name, md5, remedy=f"remove this file, then {command}")
    if missing := _missing(folder):
        raise DataError(
            f"{len(missing)} pictures of flowers102 are missing, such as {missing[0]}",
            where=str(folder / "jpg"),
            hint=by_hand,
        )


NAMES: Final = (
    "pink primrose", "hard-leaved pocket orchid", "canterbury bells", "sweet pea", "english marigold", "tiger lily",
    "moon orchid", "bird of paradise", "monkshood", "globe thistle", "snapdragon", "colt's foot", "king protea",
    "spear thistle", "yellow iris", "globe-flower", "purple coneflower", "peruvian lily", "balloon flower",
    "giant white arum lily", "fire lily", "pincushion flower", "fritillary", "red ginger", "grape hyacinth",
    "corn poppy", "prince of wales feathers", "stemless gentian", "artichoke", "sweet william", "carnation",
    "garden phlox", "love in the mist", "mexican aster", "alpine sea holly", "ruby-lipped cattleya", "cape flower",
    "great masterwort", "siam tulip", "lenten rose", "barbeton daisy", "daffodil", "sword lily", "poinsettia",
    "bolero deep blue", "wallflower", "marigold", "buttercup", "oxeye daisy", "common dandelion", "petunia",
    "wild pansy", "primula", "sunflower", "pelargonium", "bishop of llandaff", "gaura", "geranium", "orange dahlia",
    "pink-yellow dahlia?", "cautleya spicata", "japanese anemone", "black-eyed susan", "silverbush",
    "californian poppy", "osteospermum", "spring crocus", "bearded iris", "windflower", "tree poppy", "gazania",
    "azalea", "water lily", "rose", "thorn apple", "morning glory", "passion flower", "lotus", "toad lily",
    "anthurium", "frangipani", "clematis", "hibiscus", "columbine", "desert-rose", "tree mallow", "magnolia",
    "cyclamen", "watercress", "canna lily", "hippeastrum", "bee balm", "ball moss", "foxglove", "bougainvillea",
    "camellia", "mallow", "mexican petunia", "bromelia", "blanket flower", "trumpet creeper", "blackberry lily",
)  # fmt: skip
"""The kinds of flowers, in the order of the labels."""
