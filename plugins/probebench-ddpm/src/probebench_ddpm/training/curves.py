"""The curves of a run: ``loss.csv`` with a line an epoch, ``bands.csv`` with a line for each checkpoint and set."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from probebench_ddpm.training.tensorboard import EventFile


class Curves:
    """Lines of CSV, forgotten from where a run goes on.

    Args:
        root: Folder of the run.
    """

    def __init__(self, root: Path) -> None:
        self._loss, self._bands = root / "loss.csv", root / "bands.csv"
        self._events: EventFile | None = None

    def show(self, events: EventFile) -> None:
        """Puts every line, those that are there and those to come, into an event file too."""
        self._events = events
        events.add_epochs(_read(self._loss))
        events.add_bands(_read(self._bands))

    def add_epoch(self, row: Mapping[str, Any]) -> None:
        """Appends an epoch to the loss curve."""
        _append(self._loss, [row])
        if self._events:
            self._events.add_epochs([row])

    def add_bands(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends what was measured at a checkpoint; each row has its ``step``, second."""
        _append(self._bands, rows)
        if self._events:
            self._events.add_bands(rows)

    def rewind(self, epoch: int, step: int) -> None:
        """Forgets what came after the state that the run goes on from: it is trained again.

        Args:
            epoch: Epochs that are finished.
            step: Steps in all.
        """
        # The last line may be cut off in the middle of a number, and `12,...` then look like epoch 1. So the loss curve
        # is kept by the number of its lines, and of the other only whole lines are read.
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
