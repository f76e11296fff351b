"""The checkpoints of a training run, each a backbone. No torch here: a plan is made before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from probebench.api import UsageError
from probebench_ddpm.loading.layout import whole_epochs

if TYPE_CHECKING:
    from probebench_ddpm.options import DDPMSeries


def members(options: DDPMSeries) -> list[dict[str, str]]:
    """The options of each checkpoint of a run, by epoch.

    Args:
        options: The run, and which of its epochs.

    Raises:
        UsageError: There is no such run, or no checkpoint of one of the epochs.
    """
    run = Path(options.run)
    folder = run.expanduser()
    attention = _attention(folder)
    found = whole_epochs(folder)
    if not found:
        raise UsageError(
            "the training run has no checkpoint of a whole epoch", where=str(run), hint="wait for its first epoch-NNNN/"
        )
    if missing := [epoch for epoch in options.epochs if epoch not in found]:
        raise UsageError(
            f"the training run has no checkpoint of epoch {missing[0]}",
            where=str(run),
            hint="one of " + ", ".join(map(str, sorted(found))),
        )
    wanted = sorted(set(options.epochs) or found)
    # As a user would write them, so that a checkpoint named by itself is the same backbone.
    return [{"checkpoint": str(run / found[epoch].name), **attention} for epoch in wanted]


def _attention(folder: Path) -> dict[str, str]:
    path = folder / "run.json"
    try:
        network = json.loads(path.read_text(encoding="utf-8"))["network"]
    except FileNotFoundError:
        raise UsageError(
            "there is no training run", where=str(folder), hint="the --out of a `probebench train ddpm`"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{path.name} cannot be read: {error}", where=str(folder)) from error
    return {} if network.get("add_attention", True) else {"attention": "false"}
