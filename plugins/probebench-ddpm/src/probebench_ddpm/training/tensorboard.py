"""Writes the loss curves of a run for TensorBoard, into its folder ``tensorboard``. Needs the extra ``tensorboard``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from probebench.api import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_OTHER_COLUMNS = ("epoch", "step", "split", "images")
"""Columns of ``bands.csv`` that are not losses."""


def check_installed() -> None:
    """Checks that event files can be written.

    Raises:
        UsageError: tensorboard is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401 - only whether it can be imported
    except ImportError as error:
        raise UsageError(
            "tensorboard=true needs the package tensorboard, which is not installed",
            where="option tensorboard of the recipe",
            hint="pip install 'probebench-ddpm[tensorboard]', or tensorboard=false: loss.csv has the same curve",
        ) from error


class EventFile:
    """An event file with the lines of the curves as scalars, by optimiser step. It replaces those of interrupted runs.

    Args:
        root: Folder of the run.
    """

    def __init__(self, root: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = root / "tensorboard"
        # Truncated and not deleted: an open TensorBoard waits for more data in a deleted file and never reads the next
        # one. In the new file `purge_step` makes it discard the old data.
        for older in folder.glob("events.out.tfevents.*"):
            os.truncate(older, 0)
        self._writer = SummaryWriter(folder, purge_step=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add_epochs(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines of ``loss.csv``: ``loss`` and ``images_per_second``."""
        self._add((name, row[name], row["step"]) for row in rows for name in ("loss", "images_per_second"))

    def add_bands(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds lines of ``bands.csv``: a scalar such as ``bands/val/t0-99`` for each set and band."""
        self._add(
            (f"bands/{row['split']}/{name}", loss, row["step"])
            for row in rows
            for name, loss in row.items()
            if name not in _OTHER_COLUMNS
        )

    def _add(self, scalars: Iterable[tuple[str, Any, Any]]) -> None:
        for name, value, step in scalars:
            self._writer.add_scalar(name, float(value), int(step))
        self._writer.flush()
