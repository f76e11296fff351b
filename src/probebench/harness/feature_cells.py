"""Cells of frozen features: one pass over each split for all points, then the probes one by one."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from probebench.extraction.context import collect_warnings
from probebench.extraction.split_pass import read_split, read_views
from probebench.extraction.views import by_epoch
from probebench.harness.cell_record import Spent
from probebench.harness.probe_cells import run_probe
from probebench.probing.cell import probe_features
from probebench.probing.data import Rows
from probebench.util.progress import bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.extraction.context import Context
    from probebench.harness.cell_file import CellFile
    from probebench.harness.cells import CellResult
    from probebench.store.features import Store


def run_cells(context: Context, files: Sequence[CellFile], store: Store) -> tuple[list[CellResult], int]:
    """Runs the cells of a job.

    Args:
        context: The components of the job, built.
        files: Its cells without a record.
        store: Where the features go.

    Returns:
        The results in the order of the cells, and the number of images that went through the backbone.

    Raises:
        ProbebenchError: The features cannot be read, so no cell can be run.
        RecordError: A record cannot be written.
    """
    started, job = time.perf_counter(), context.job
    with collect_warnings() as collected:
        passes = {name: read_split(context, name, store) for name in context.splits}
        views = read_views(context, passes["train"][0], store)
    extractions = [*(extraction for _, extraction in passes.values()), *views]
    images = sum(extraction.forwarded for extraction in extractions)
    spent = Spent(round(time.perf_counter() - started, 3) if images else 0.0, images, 0.0)
    rows = {
        name: Rows(name, positions, context.labels[name][positions], extraction.features, context.points.shapes)
        for name, (positions, extraction) in passes.items()
    }
    trained_on = by_epoch(job.views, passes["train"][1], views)
    rows["train"] = replace(rows["train"], views=tuple(extraction.features for extraction in trained_on))
    results = []
    with bar(f"probe {job.backbone.title} on {job.dataset.title}", total=len(files)) as shown:
        for file in files:
            work = partial(
                probe_features,
                rows=rows,
                classes=len(context.dataset.classes),
                metric=context.dataset.metric,
                seed=file.seed,
                optimism=job.settings.optimism,
                soft_vote=context.description.soft_vote,
            )
            results.append(run_probe(context, file, store, work, spent, collected))
            shown.advance()
    # Counted at the end: a shard that was found broken in the meantime has been forwarded again.
    return results, sum(extraction.forwarded for extraction in extractions)
