"""The record of a cell of generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.extraction.subsets import index_digest
from probebench.planning.device import peak_memory_mb
from probebench.records import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.extraction.context import SampleContext
    from probebench.generation.measure import GenerationOutcome
    from probebench.harness.cell_record import CellFile
    from probebench.records.schema import Record


def succeed(file: CellFile, context: SampleContext, outcome: GenerationOutcome, warnings: Sequence[str]) -> Record:
    """Writes the record, and removes what an earlier failure left.

    Args:
        file: The cell.
        context: What it was measured with.
        outcome: What came out.
        warnings: What was said on the way.

    Raises:
        RecordError: It cannot be written.
    """
    component, point = context.wanted.component, context.point
    record = schema.Record(
        id=file.identity(context),
        status="success",
        smoke=file.request.limit is not None,
        cell=file.cell(context),
        protocol=file.ruled.protocol,
        parts={
            name: schema.Part(split=used.split, count=len(used.positions), indices=index_digest(used.positions))
            for name, used in outcome.used.items()
        },
        primary=next(iter(outcome.measured)),
        metrics={
            name: schema.Measure(
                value=one.value,
                n=outcome.count,
                method=None,
                higher_is_better=one.higher_is_better,
                floor=outcome.floors.get(name),
                sd=one.sd,
            )
            for name, one in outcome.measured.items()
        },
        samples=schema.Samples(
            count=outcome.count,
            sampling=outcome.sampling.model_dump(mode="json"),
            fingerprint=outcome.fingerprint,
            extractor=schema.ExtractorCell(
                title=component.title,
                **component.identity(),
                fingerprint=context.extractor_fingerprint,
                tap=point.tap,
                level=point.level,
                pool=point.pool,
            ),
        ),
        provenance=file.provenance(context.device),
        timing=schema.Timing(extract_s=outcome.draw_s, probe_s=outcome.measure_s, forwarded=outcome.made),
        peak_memory_mb=peak_memory_mb(),
        warnings=tuple(dict.fromkeys((*context.warnings, *warnings))),
    )
    file.keep(context, record)
    return record
