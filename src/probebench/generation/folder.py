"""The folder of a set of generated images.

::

    samples.json         what the images depend on; only a run with the same values resumes
    images/000000.png    the images and nothing else, for tools that measure a folder of images
    grid.png             some of them, side by side
    samples.npz          all of them in one array, if it was requested
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from probebench.store import generated
from probebench.util.errors import DataError, UsageError
from probebench.util.files import make_writable, open_atomic, write_bytes
from probebench.util.hashing import differing_fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date of the ZIP format: equal images make equal bytes


class SampleFolder:
    """The folder of one run. Every file appears whole or not at all.

    Args:
        root: The folder.
        run: What the images depend on; JSON values.
        notes: Further values for the manifest of a new folder.
        option: The option that names the folder, or a folder above it; for errors.

    Raises:
        UsageError: It cannot be written, holds another run, or is not empty and holds none.
        DataError: Its manifest cannot be read.
    """

    def __init__(self, root: Path, run: Mapping[str, Any], notes: Mapping[str, Any], option: str = "--out") -> None:
        self.root, self.images, self._option = root, root / generated.IMAGES, option
        make_writable(root, option)
        self._claim(json.loads(json.dumps(run)), notes)

    def _claim(self, run: dict[str, Any], notes: Mapping[str, Any]) -> None:
        path = self.root / generated.MANIFEST
        if not path.is_file():
            # A run that was killed in its first moment leaves only a hidden temporary file.
            if any(not entry.name.startswith(".") for entry in self.root.iterdir()):
                raise UsageError(
                    "the folder is not empty and holds no generated images",
                    where=str(self.root),
                    hint=f"give {self._option} a new folder",
                )
            write_bytes(path, (json.dumps({"run": run, **notes}, indent=2) + "\n").encode())
            return
        try:
            held = json.loads(path.read_text(encoding="utf-8"))["run"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{path.name} cannot be read: {error}",
                where=str(self.root),
                hint=f"give {self._option} a new folder",
            ) from error
        if changed := differing_fields(held, run):
            raise UsageError(
                f"the folder holds images generated with another {changed}",
                where=str(path),
                hint=f"give {self._option} a new folder, or use the options in {path.name}",
            )

    def present(self) -> set[int]:
        """Returns the numbers of the existing images."""
        return {int(path.stem) for path in generated.images(self.root)}

    def write(self, number: int, image: Tensor) -> None:
        """Writes one image, uint8 ``(3, H, W)``."""
        buffer = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG")
        write_bytes(self._path(number), buffer.getvalue())

    def read(self, number: int) -> Image.Image:
        """Reads one image.

        Raises:
            DataError: It is missing or damaged.
        """
        path = self._path(number)
        try:
            with Image.open(path) as picture:
                return picture.convert("RGB")
        except (OSError, SyntaxError) as error:  # Pillow raises the latter for some damaged PNG files
            raise DataError(
                f"the image cannot be read: {error}", where=str(path), hint="delete it, and run the same command again"
            ) from error

    def write_npz(self, count: int) -> Path:
        """Writes the first images as ``arr_0``, uint8 ``(count, H, W, 3)``, which suites that compute FID read.

        They are streamed: fifty thousand images of 256x256 are 10 GB.

        Raises:
            DataError: An image is missing, damaged, or not of the size of the first.
        """
        path = self.root / "samples.npz"
        first = self.read(0)
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
            "fortran_order": False,
            "shape": (count, first.height, first.width, 3),
        }
        with (
            open_atomic(path) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
            archive.open(zipfile.ZipInfo("arr_0.npy", _EPOCH), "w", force_zip64=True) as array,
        ):
            np.lib.format.write_array_header_1_0(array, header)
            for number in range(count):
                picture = self.read(number)
                if picture.size != first.size:
                    raise DataError(
                        f"the image is {picture.height}x{picture.width}, the first one {first.height}x{first.width}",
                        where=str(self._path(number)),
                        hint="delete it, and run the same command again",
                    )
                array.write(picture.tobytes())
        return path

    def _path(self, number: int) -> Path:
        return self.images / f"{number:06d}.png"
