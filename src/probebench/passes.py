"""One pass over a split: which of its images are read, and a bar while they go through the backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from probebench.extract import extract
from probebench.progress import bar
from probebench.splits import limit

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.extract import Extraction
    from probebench.store import Store
    from probebench.workbench import Context


def read_split(context: Context, name: str, store: Store) -> tuple[Tensor, Extraction]:
    """Stores what a job reads on one split, forwarding only what is not stored.

    Args:
        context: The backbone, built, and what is read from it.
        name: Of the split.
        store: Where the features go.

    Returns:
        int64 ``(N,)``, positions of the images that are used, and the pass over them.

    Raises:
        ProbebenchError: As `extract`.
    """
    labels, count = context.labels[name], context.request.limit
    positions = torch.arange(len(labels)) if count is None else limit(labels, count)
    with bar(f"read {context.job.backbone.title} on {name}", total=len(positions)) as shown:
        extraction = extract(
            context.backbone,
            context.splits[name],
            identity=context.job.backbone.identity(),
            source=context.source(name),
            index=positions,
            points=context.reading.points,
            seed=context.request.noise_seed,
            device=context.device,
            precision=context.precision,
            store=store,
            progress=lambda done, _total: shown.reach(done),
        )
    return positions, extraction
