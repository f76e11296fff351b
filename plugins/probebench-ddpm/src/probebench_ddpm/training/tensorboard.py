"""The curves of a run for TensorBoard, in its folder ``tensorboard``; needs the extra of that name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from probebench.api import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_PLACES = ("epoch", "step", "split", "images")
"""What a line of ``bands.csv`` has besides losses."""


def check_installed() -> None:
    """Imports what writes event files.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401 - whether it can be
    except ImportError as error:
        raise UsageError(
            "curves for TensorBoard need tensorboard, which is not installed",
            where="--recipe tensorboard=true",
            hint="pip install 'probebench-ddpm[tensorboard]', or leave it out: loss.csv has the curve",
        ) from error


class EventFile:
    """Lines of the curves as scalars, by optimiser step. What earlier parts of the run have left is replaced.

    Args:
        root: Folder of the run.
    """

    def __init__(self, root: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = root / "tensorboard"
        # Emptied and not deleted: a TensorBoard that is looking on would wait for a file that has gone, and never look
        # at the next. That one tells it, by `purge_step`, to forget what it has seen.
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
            if name not in _PLACES
        )

    def _add(self, scalars: Iterable[tuple[str, Any, Any]]) -> None:
        for name, value, step in scalars:
            self._writer.add_scalar(name, float(value), int(step))
        self._writer.flush()
