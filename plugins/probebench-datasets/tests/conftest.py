"""Fixtures for all tests of this plugin: a temporary cache, and small image files."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sets a temporary cache folder, so that no test uses the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PROBEBENCH_CACHE", str(folder))
    monkeypatch.delenv("PROBEBENCH_CACHE_GB", raising=False)
    monkeypatch.delenv("PROBEBENCH_DATA", raising=False)
    return folder


def _smooth_image(number: int, width: int, height: int) -> np.ndarray:
    """Returns uint8 ``(height, width, 3)``: smooth, so that JPEG hardly changes it, and different for each number."""
    random = np.random.default_rng(number)
    corners = Image.fromarray(random.integers(0, 256, (3, 3, 3), dtype=np.uint8))
    return np.asarray(corners.resize((width, height), Image.Resampling.BILINEAR))


@pytest.fixture(scope="session")
def smooth_image() -> Callable[[int, int, int], np.ndarray]:
    """Returns ``smooth_image(number, width, height)``: uint8 ``(height, width, 3)``."""
    return _smooth_image


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """Returns ``encoded(number, kind="png", size=(32, 32))``: the bytes of an image file."""

    def encode(number: int, kind: str = "png", size: tuple[int, int] = (32, 32)) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(_smooth_image(number, *size)).save(buffer, kind)
        return buffer.getvalue()

    return encode


@pytest.fixture(scope="session")
def write_folders(encoded: Callable[..., bytes]) -> Callable[..., Path]:
    """Returns ``write_folders(folder, {"train/cat": 5}, first=0)``, which writes different images to folders."""

    def write(
        folder: Path, counts: dict[str, int], *, kind: str = "png", size: tuple[int, int] = (32, 32), first: int = 0
    ) -> Path:
        number = first
        for name, count in counts.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                (folder / name / f"{index:03d}.{kind}").write_bytes(encoded(number, kind, size))
                number += 1
        return folder

    return write


@pytest.fixture(scope="session")
def write_parquet() -> Callable[..., Path]:
    """Returns a function that writes a file as the library `datasets` does: images, labels, names in the metadata."""

    def write(
        path: Path,
        images: Sequence[bytes | None],
        labels: Sequence[int | None],
        *,
        image: str = "img",
        label: str = "label",
        names: Sequence[str] | None = ("cat", "dog"),
        rows_per_group: int = 7,
    ) -> Path:
        column = [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(images)]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        table = pa.table({image: pa.array(column, kind), label: pa.array(labels, pa.int64())})
        if names is not None:
            features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=rows_per_group)
        return path

    return write
