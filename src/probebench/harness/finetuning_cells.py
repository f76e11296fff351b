"""Cells of fine-tuning: each trains a copy of the backbone, of which nothing is stored."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from probebench.harness.cell_record import Spent
from probebench.harness.probe_cells import run_probe
from probebench.probing.finetune import finetune
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
        store: Where neighbours would be kept.

    Returns:
        The results in the order of the cells, and 0: no image goes through the frozen backbone.

    Raises:
        RecordError: A record cannot be written.
    """
    results = []
    with bar(f"fine-tune {context.job.backbone.title} on {context.job.dataset.title}", total=len(files)) as shown:
        for file in files:
            work = partial(finetune, context, seed=file.seed)
            results.append(run_probe(context, file, store, work, Spent(0.0, 0, 0.0)))
            shown.advance()
    return results, 0
