"""The loss curves of a run: ``loss.csv`` with a line per epoch, ``bands.csv`` with a line per checkpoint and set."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from probebench_ddpm.training.tensorboard import EventFile


class Curves:
    """The CSV files of a run. Lines after the state that a run resumes from are removed.

    Args:
        root: Folder of the run.
    """

    def __init__(self, root: Path) -> None:
        self._loss, self._bands = root / "loss.csv", root / "bands.csv"
        self._events: EventFile | None = None

    def copy_to(self, events: EventFile) -> None:
        """Writes all lines, present and future ones, to an event file too."""
        self._events = events
        events.add_epochs(_read(self._loss))
        events.add_bands(_read(self._bands))

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Appends a line to ``loss.csv``."""
        _append(self._loss, [row])
        if self._events:
            self._events.add_epochs([row])

    def add_bands(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends the lines of a checkpoint to ``bands.csv``; ``step`` is the second column."""
        _append(self._bands, rows)
        if self._events:
            self._events.add_bands(rows)

    def rewind(self, epoch: int, step: int) -> None:
        """Removes the lines after the state that the run resumes from, because these epochs are trained again.

        Args:
            epoch: Finished epochs.
            step: Optimiser steps in total.
        """
        # The last line may be cut off inside a number, and `12,...` then looks like epoch 1. So `loss.csv` is cut by
        # the number of its lines, and of `bands.csv` only complete lines are kept.
        _keep(self._loss, lambda lines: lines[:epoch])
        _keep(self._bands, lambda lines: [line for line in lines if int(line.split(",")[1]) <= step])


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _keep(path: Path, choose: Callable[[list[str]], list[str]]) -> None:
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    header, *lines = text.splitlines(keepends=True) or [""]
    kept = choose([line for line in lines if line.endswith("\n")])
    if not kept:
        path.unlink()
    elif (rest := "".join([header, *kept])) != text:
        path.write_text(rest, encoding="utf-8", newline="")
