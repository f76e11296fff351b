"""One probe, run and recorded: what cells of frozen features and of fine-tuning share."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from probebench.extraction.context import collect_warnings
from probebench.harness import cell_record
from probebench.harness.cells import CellResult, failed
from probebench.plugins.isolation import plugin_errors
from probebench.util.errors import ProbebenchError, RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probebench.api import FinetuningProbe, Probe
    from probebench.extraction.context import Context
    from probebench.harness.cell_file import CellFile
    from probebench.harness.cell_record import Spent
    from probebench.probing.cell import ProbeOutcome
    from probebench.store.features import Store


def run_probe(
    context: Context,
    file: CellFile,
    store: Store,
    work: Callable[[Any], ProbeOutcome],
    spent: Spent,
    warnings_before: Sequence[str] = (),
) -> CellResult:
    """Builds the probe of a cell, does the work with it, and writes the record.

    Args:
        context: The components of the job.
        file: The cell.
        store: Where neighbours are kept.
        work: Called with the probe, built and moved to its device.
        spent: What was spent before.
        warnings_before: Collected while the features were read.

    Raises:
        RecordError: The record cannot be written.
    """
    started = time.perf_counter()
    try:
        with collect_warnings() as collected, plugin_errors(f"probe {file.probe.title} fails"):
            probe = cast("Probe | FinetuningProbe", file.probe.build())
            probe.move_to(context.device, context.precision)
            outcome = work(probe)
        spent = replace(spent, probe_s=round(time.perf_counter() - started, 3))
        with plugin_errors(f"a value of {file.probe.title} or {context.job.backbone.title} does not fit in a record"):
            record = cell_record.succeed(file, context, store, outcome, spent, (*warnings_before, *collected))
    except RecordError:
        raise  # the record of a failure could not be written either
    except ProbebenchError as error:
        return failed(file, error)
    return CellResult(file.path, record, fresh=True)
