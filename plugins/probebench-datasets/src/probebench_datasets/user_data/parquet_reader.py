"""Reads images and labels from Parquet files, a few rows at a time."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from probebench.api import DataError
from probebench_datasets.images.encoded_images import EncodedImages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

IMAGE_COLUMNS: Final = ("img", "image")
LABEL_COLUMNS: Final = ("label", "fine_label")

_BATCH_ROWS = 64
_COPY_AGAIN = "download or copy the file again"


class ParquetImages(EncodedImages):
    """The encoded images in some Parquet files, row after row.

    Args:
        files: The files.

    Raises:
        DataError: A file is not a Parquet file, or has no column of images.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._paths = files
        self.files = [str(file) for file in files]
        self._starts = [0]
        for file in files:
            with _reading(file), _open(file) as opened:
                self._starts.append(self._starts[-1] + opened.metadata.num_rows)
        with _reading(files[0]):
            schema = pq.read_schema(files[0])
        self._column = _column(schema, IMAGE_COLUMNS, files[0])
        kind = schema.field(self._column).type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise DataError(
                f"column {self._column!r} has the type {kind}, not a struct with the field 'bytes'",
                where=str(files[0]),
                hint="write the file with the library `datasets`, with a column of type Image",
            )
        self.layout = f"parquet {self._column}.bytes"

    def __len__(self) -> int:
        return self._starts[-1]

    def _file_and_row(self, index: int) -> tuple[Path, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._paths[number], index - self._starts[number]

    def where(self, index: int) -> str:
        """Returns ``path/of/file.parquet, row N``, counted from 0."""
        file, row = self._file_and_row(index)
        return f"{file}, row {row}"

    def read(self, index: int) -> bytes:
        """Reads the image's row group up to the image."""
        file, row = self._file_and_row(index)
        with _reading(file), _open(file) as opened:
            group = 0
            while row >= (rows := opened.metadata.row_group(group).num_rows):
                row, group = row - rows, group + 1
            for number, data in enumerate(self._rows(opened, groups=[group])):
                if number == row:
                    return self._not_null(data, index)
        raise DataError("the row is missing", where=self.where(index), hint=_COPY_AGAIN)

    def read_all(self) -> Iterator[bytes]:
        """Reads a few rows at a time."""
        index = 0
        for file, stop in zip(self._paths, self._starts[1:], strict=True):
            with _reading(file), _open(file) as opened:
                for data in self._rows(opened):
                    yield self._not_null(data, index)
                    index += 1
            if index != stop:
                row = self._file_and_row(index)[1]
                raise DataError(f"rows are missing after row {row}", where=str(file), hint=_COPY_AGAIN)

    def _rows(self, file: pq.ParquetFile, groups: Sequence[int] | None = None) -> Iterator[bytes | None]:
        column = f"{self._column}.bytes"
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=[column], use_threads=False):
            yield from batch.column(0).field("bytes").to_pylist()

    def _not_null(self, data: bytes | None, index: int) -> bytes:
        if data is None:
            raise DataError(
                f"column {self._column!r} has no image in this row",
                where=self.where(index),
                hint="remove the row, or write the file again with the content of the images, not only their paths",
            )
        return data

    def labels(self) -> NDArray[np.int64]:
        """Reads the column of labels: int64 ``(N,)``.

        Raises:
            DataError: There is no such column, or a row has no label.
        """
        parts: list[NDArray[np.int64]] = []
        for file, start in zip(self._paths, self._starts, strict=False):
            with _reading(file):
                column = _column(pq.read_schema(file), LABEL_COLUMNS, file)
                values = _open(file).read(columns=[column], use_threads=False).column(column)
            if not pa.types.is_integer(values.type):
                raise DataError(
                    f"column {column!r} has the type {values.type}, not integers",
                    where=str(file),
                    hint="write the file with the library `datasets`, with a column of type ClassLabel",
                )
            if values.null_count:
                row = values.is_null().index(pa.scalar(value=True)).as_py()
                raise DataError("the row has no label", where=self.where(start + row), hint="remove the row")
            parts.append(values.to_numpy().astype(np.int64))
        return np.concatenate(parts)

    def class_names(self) -> tuple[str, ...] | None:
        """Returns the class names that the library `datasets` wrote to the files' metadata; None if there are none.

        Raises:
            DataError: Two files have different names.
        """
        first_file: dict[tuple[str, ...] | None, Path] = {}
        for file in self._paths:
            with _reading(file):
                schema = pq.read_schema(file)
            first_file.setdefault(_names(schema, _column(schema, LABEL_COLUMNS, file)), file)
        if len(first_file) > 1:
            raise DataError(
                "the files have different class names",
                where=" and ".join(map(str, first_file.values())),
                hint="use files that were written together",
            )
        return next(iter(first_file))


def _open(file: Path) -> pq.ParquetFile:
    return pq.ParquetFile(file, page_checksum_verification=True)  # where the file has checksums


def _column(schema: pa.Schema, names: Sequence[str], file: Path) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise DataError(
        f"there is no column {' or '.join(map(repr, names))}",
        where=str(file),
        hint=f"rename one of the columns of the file: {', '.join(schema.names)}",
    )


def _names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    try:
        names = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if isinstance(names, dict):  # as old versions of the library write them: {"0": "cat", "1": "dog"}
        names = [names[number] for number in sorted(names, key=int)]
    return tuple(map(str, names))


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"the file cannot be read: {str(error).splitlines()[0]}", where=str(file), hint=_COPY_AGAIN
        ) from error
