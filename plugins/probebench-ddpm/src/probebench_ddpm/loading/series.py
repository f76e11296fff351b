"""Series: the checkpoints of a training run, each as a backbone.

This module must not import torch, because a run is planned before anything is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from probebench.api import UsageError
from probebench_ddpm.loading.layout import whole_epochs

if TYPE_CHECKING:
    from probebench_ddpm.options import DDPMSeries


def members(options: DDPMSeries) -> list[dict[str, str]]:
    """Returns the backbone options of each checkpoint of a run, by epoch.

    Args:
        options: The run and its epochs.

    Raises:
        UsageError: There is no such run, or it has no checkpoint of one of the epochs.
    """
    run = Path(options.run)
    folder = run.expanduser()
    attention = _attention_option(folder)
    checkpoints = whole_epochs(folder)
    if not checkpoints:
        raise UsageError(
            "the training run has no checkpoint of a whole epoch yet",
            where=str(run),
            hint=f"wait until {run}/epoch-NNNN exists (probebench train --recipe save_every=1 saves every epoch)",
        )
    if missing := [epoch for epoch in options.epochs if epoch not in checkpoints]:
        raise UsageError(
            f"the training run has no checkpoint of epoch {missing[0]}",
            where=str(run),
            hint="epochs=" + "+".join(map(str, sorted(checkpoints))),
        )
    epochs = sorted(set(options.epochs) or checkpoints)
    # The path as the user wrote it, so that the same checkpoint named by checkpoint=... is the same backbone.
    return [{"checkpoint": str(run / checkpoints[epoch].name), **attention} for epoch in epochs]


def _attention_option(folder: Path) -> dict[str, str]:
    path = folder / "run.json"
    try:
        network = json.loads(path.read_text(encoding="utf-8"))["network"]
    except FileNotFoundError:
        raise UsageError(
            "the folder is not a training run: it has no run.json",
            where=str(folder),
            hint="run=FOLDER, the --out of a probebench train ddpm",
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path.name} cannot be read: {error}", where=str(folder), hint="name its checkpoints: checkpoint=FOLDER"
        ) from error
    return {} if network.get("add_attention", True) else {"attention": "false"}
