"""Cells of generation: images are generated once for all measures, then each measure is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.extraction.context import collect_warnings
from probebench.generation.measure import measure_generation
from probebench.harness import generation_record
from probebench.harness.cells import CellResult, failed
from probebench.plugins.isolation import plugin_errors
from probebench.util.errors import ProbebenchError, RecordError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.extraction.context import Context
    from probebench.harness.cell_file import CellFile
    from probebench.store.features import Store


def run_cells(context: Context, files: Sequence[CellFile], store: Store) -> tuple[list[CellResult], int]:
    """Runs the cells of a job.

    Args:
        context: The components of the job, built.
        files: Its cells without a record.
        store: Where the images and their features go.

    Returns:
        The results in the order of the cells, and the number of images that were generated.

    Raises:
        RecordError: A record cannot be written.
    """
    results, generated = [], 0
    for file in files:
        what = f"{file.probe.title} of {context.job.backbone.title}"
        try:
            with collect_warnings() as collected, plugin_errors(f"{what} fails"):
                outcome = measure_generation(context, file.ruled, store, seed=file.seed)
            generated += outcome.generated
            record = generation_record.succeed(file, context, outcome, collected)
        except RecordError:
            raise  # the record of a failure could not be written either
        except ProbebenchError as error:
            results.append(failed(file, error))
        else:
            results.append(CellResult(file.path, record, fresh=True))
    return results, generated
