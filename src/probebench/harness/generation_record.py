"""The record of a cell of generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probebench.extraction.subsets import index_digest
from probebench.planning.device import peak_memory_mb
from probebench.records import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.extraction.context import Context
    from probebench.generation.measure import GenerationOutcome
    from probebench.harness.cell_file import CellFile
    from probebench.records.schema import Record


def succeed(file: CellFile, context: Context, outcome: GenerationOutcome, warnings: Sequence[str]) -> Record:
    """Writes the record, and removes that of an earlier failure.

    Args:
        file: The cell.
        context: The components of the job.
        outcome: The result.
        warnings: Collected while it was measured.

    Raises:
        RecordError: It cannot be written.
    """
    extractor, described = context.job.extractor, context.description.extractor
    assert extractor is not None  # noqa: S101 - every job of generation has one
    assert described is not None  # noqa: S101
    assert described.extractor_point is not None  # noqa: S101
    component, point = extractor.component, described.extractor_point
    record = schema.Record(
        id=file.identity,
        status="success",
        smoke=file.job.settings.limit is not None,
        cell=file.cell(),
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
                floor=outcome.baselines.get(name),
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
                fingerprint=described.fingerprint,
                tap=point.tap,
                level=point.level,
                pool=point.pool,
            ),
        ),
        provenance=file.provenance(context.device),
        timing=schema.Timing(extract_s=outcome.generate_s, probe_s=outcome.measure_s, forwarded=outcome.generated),
        peak_memory_mb=peak_memory_mb(),
        warnings=tuple(dict.fromkeys((*context.description.warnings, *warnings))),
    )
    file.keep(record)
    return record
