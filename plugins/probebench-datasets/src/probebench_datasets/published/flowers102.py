"""Oxford Flowers-102, as published: a folder of JPEG files, and two MATLAB files with their labels and splits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.io import loadmat

from probebench.api import DataError, Dataset, UsageError
from probebench_datasets.downloads import checksums
from probebench_datasets.downloads.download import download
from probebench_datasets.downloads.unpack import unpack
from probebench_datasets.images.decoded_images import DecodedImages
from probebench_datasets.images.decoder import Decoder
from probebench_datasets.images.encoded_images import ImageFiles
from probebench_datasets.images.splits import DecodedSplit
from probebench_datasets.paths import data_root

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
    """Flowers-102: 8,189 photographs of 102 classes of flowers, 1,020 train, 1,020 val and 6,149 test images.

    The classes of test have 20 to 238 images, so leaderboards rank by mean-per-class accuracy. The photographs differ
    in size, from 500 pixels upwards, so `image_size` has a default: small diffusion models are trained at 64, where
    all images take 100 MB. Backbones trained on ImageNet need 224.
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
            files = ImageFiles([str(_image_file(folder, number)) for number in numbers.tolist()])
            images = DecodedImages(files, decoder, f"flowers102/{split}")
            self._splits[split] = DecodedSplit(images, labels[numbers - 1])
        self.splits = tuple(self._splits)

    def split(self, name: str) -> DecodedSplit:
        """Returns ``train``, ``val`` or ``test``; images are in the order of ``setid.mat``."""
        if name not in self._splits:
            raise UsageError(f"no split {name!r}", hint=f"use {' or '.join(self._splits)}")
        return self._splits[name]


def fetch(options: Flowers102Options, progress: Progress) -> None:
    """Downloads missing files: 345 MB. The archive is deleted when it is unpacked.

    Raises:
        DataError: A file cannot be downloaded, has another checksum, or cannot be written.
    """
    folder = _folder(options)
    for name, md5 in (LABELS, SPLITS):
        download(URL + name, folder / name, md5=md5, progress=progress)
    if _missing(folder):
        name, md5 = ARCHIVE
        downloaded = not (folder / name).exists()
        download(URL + name, folder / name, md5=md5, progress=progress)
        unpack(folder / name, folder, progress=progress)
        if downloaded:
            (folder / name).unlink()


def _folder(options: Flowers102Options) -> Path:
    return (data_root(options.root) / "flowers-102").absolute()


def _image_file(folder: Path, number: int) -> Path:
    return folder / "jpg" / f"image_{number:05d}.jpg"


def _labels(folder: Path) -> NDArray[np.int64]:
    """Returns the labels of all images, counted from 0, in the order of the images' numbers."""
    numbers: NDArray[np.int64] = loadmat(folder / LABELS[0])["labels"].ravel().astype(np.int64)
    return numbers - 1


def _numbers(folder: Path) -> dict[str, NDArray[np.int64]]:
    """Returns the numbers of the images of each split, counted from 1 as in the names of the files."""
    sets = loadmat(folder / SPLITS[0])
    return {split: sets[key].ravel().astype(np.int64) for split, key in _KEYS.items()}


def _missing(folder: Path) -> list[str]:
    """Returns the names of the image files that do not exist."""
    numbers = np.concatenate(list(_numbers(folder).values()))
    present = {path.name for path in (folder / "jpg").glob("*.jpg")}
    return [name for number in sorted(numbers.tolist()) if (name := _image_file(folder, number).name) not in present]


def _require(folder: Path, options: Flowers102Options) -> None:
    """Raises an error unless all files exist, and the MATLAB files have the published checksums."""
    command = _COMMAND + (f":root={options.root}" if options.root else "")
    by_hand = f"copy {LABELS[0]}, {SPLITS[0]} and the folder jpg of {ARCHIVE[0]} from {URL} to {folder}"
    hint = f"{command}; without a network connection, {by_hand}"
    for name, md5 in (LABELS, SPLITS):
        if not (folder / name).is_file():
            raise DataError(f"a file of flowers102 is missing: {name}", where=str(folder), hint=hint)
        checksums.verify(folder / name, md5, hint=f"delete this file, then run {command}")
    if missing := _missing(folder):
        raise DataError(
            f"image files of flowers102 are missing: {len(missing)}, such as {missing[0]}",
            where=str(folder / "jpg"),
            hint=hint,
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
"""The classes, in the order of the labels."""
