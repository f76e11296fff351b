"""Reading a split for a job: which of its images are read, and a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.extraction.passes import extract
from probebench.extraction.views import make_views
from probebench.util.progress import bar

if TYPE_CHECKING:
    from torch import Tensor

    from probebench.api import Split
    from probebench.extraction.context import Context
    from probebench.extraction.passes import Extraction
    from probebench.store.features import Store


def read_split(context: Context, name: str, store: Store) -> tuple[Tensor, Extraction]:
    """Stores the features of a job on one split; only images without stored features are forwarded.

    Args:
        context: The components of the job, built.
        name: Name of the split.
        store: Where the features go.

    Returns:
        int64 ``(N,)``, positions of the images that are used, and the pass over them.

    Raises:
        ProbebenchError: As `extract`.
    """
    positions = context.positions(name)
    return positions, _read(context, context.splits[name], context.source(name), name, positions, store)


def read_views(context: Context, positions: Tensor, store: Store) -> list[Extraction]:
    """Stores the features of the views of train images that a job's probes are trained on.

    Args:
        context: The components of the job, built.
        positions: int64 ``(N,)``, of the images.
        store: Where the features go.

    Returns:
        A pass for each view; none where only the unchanged images are used.

    Raises:
        ProbebenchError: As `extract`.
    """
    views = make_views(
        context.job.views,
        context.splits["train"],
        context.source("train"),
        flips=context.dataset.flips,
        seed=context.job.settings.noise_seed,
    )
    names = [f"view {number} of {len(views)} of train" for number in range(1, len(views) + 1)]
    return [_read(context, view, view.source, name, positions, store) for view, name in zip(views, names, strict=True)]


def _read(context: Context, split: Split, source: str, name: str, positions: Tensor, store: Store) -> Extraction:
    with bar(f"read {context.job.backbone.title} on {name}", total=len(positions)) as shown:
        return extract(
            context.backbone,
            split,
            identity=context.job.backbone.identity(),
            source=source,
            index=positions,
            points=context.points.points,
            seed=context.job.settings.noise_seed,
            device=context.device,
            precision=context.precision,
            store=store,
            progress=lambda done, _total: shown.set_completed(done),
        )
