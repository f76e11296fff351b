"""The record of a cell of frozen features or of fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from probebench.planning.device import peak_memory_mb
from probebench.planning.protocol import RULE, VAL_FRACTION
from probebench.probing.measures import with_intervals
from probebench.records import files, schema
from probebench.store.neighbours import Origin, save_neighbours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probebench.api import Point, Trial
    from probebench.extraction.context import Context
    from probebench.harness.cell_file import CellFile
    from probebench.probing.cell import ProbeOutcome
    from probebench.records.schema import Record
    from probebench.store.features import Store


@dataclass(frozen=True)
class Spent:
    """What a cell took.

    Attributes:
        extract_s: Seconds of the pass that its features came from, stated by all its cells; 0 when all was stored.
        forwarded: Images that went through the backbone in that pass; 0 when all was stored.
        probe_s: Seconds in the probe.
    """

    extract_s: float
    forwarded: int
    probe_s: float


def succeed(
    file: CellFile, context: Context, store: Store, outcome: ProbeOutcome, spent: Spent, warnings: Sequence[str]
) -> Record:
    """Writes predictions, neighbours and record, and removes the record of an earlier failure.

    Args:
        file: The cell.
        context: The components of the job.
        store: Where the neighbours are kept.
        outcome: The result.
        spent: What the cell took.
        warnings: Collected while it was run.

    Raises:
        RecordError: They cannot be written.
    """
    description = context.description
    artifact = files.write_predictions(file.path, outcome.predicted.numpy(), outcome.labels.numpy())
    neighbours = {part: _keep(file, context, store, outcome, part) for part in sorted(outcome.neighbours)}
    point, best = outcome.chosen
    tap, level = context.points.taps[point.tap], context.points.levels[point.level]
    record = schema.Record(
        id=file.identity,
        status="success",
        smoke=file.job.settings.limit is not None,
        cell=file.cell(),
        protocol=file.ruled.protocol,
        candidates=schema.Candidates(
            taps=tuple(context.points.taps), levels=tuple(context.points.levels), pool=file.job.points.pool
        ),
        selection=schema.Selection(
            rule=RULE, carved=outcome.carved, val_fraction=VAL_FRACTION if outcome.carved else None
        ),
        parts={
            name: schema.Part(split=part.split, count=part.count, indices=part.indices)
            for name, part in outcome.parts.items()
        },
        grid=_grid(outcome.trials),
        chosen=schema.Chosen(
            tap=point.tap,
            level=point.level,
            pool=point.pool,
            params=dict(best.params),
            value=best.value,
            sigma=level.sigma,
            dim=outcome.dim,
            cost=tap.cost,
        ),
        soft_vote=_grid(outcome.voters),
        primary=context.dataset.metric,
        metrics=with_intervals(outcome.summary, len(outcome.labels)),
        per_class=tuple(cast("list[float | None]", outcome.summary["per_class"])),
        predictions=artifact,
        neighbours=neighbours,
        optimism=_optimism(outcome, context.dataset.metric),
        provenance=file.provenance(context.device),
        timing=schema.Timing(extract_s=spent.extract_s, probe_s=spent.probe_s, forwarded=spent.forwarded),
        peak_memory_mb=peak_memory_mb(),
        warnings=tuple(dict.fromkeys((*description.warnings, *warnings))),
    )
    file.keep(record)
    return record


def _keep(file: CellFile, context: Context, store: Store, outcome: ProbeOutcome, part: str) -> str:
    """Stores the neighbours of the images of a part, and returns the digest that names them."""
    origin = Origin(
        backbone=f"{file.job.backbone.entry.qualified} {context.description.backbone.fingerprint[:8]}",
        split=f"{context.source(outcome.parts[part].split)}" + " (val)" * (part == "val" and outcome.carved),
        point=str(outcome.chosen[0]),
    )
    return save_neighbours(store.root, outcome.neighbours[part], origin)


def _grid(trials: Sequence[tuple[Point, Trial]]) -> tuple[schema.GridTrial, ...]:
    return tuple(
        schema.GridTrial(tap=at.tap, level=at.level, pool=at.pool, params=dict(trial.params), value=trial.value)
        for at, trial in trials
    )


def _optimism(outcome: ProbeOutcome, primary: str) -> schema.Optimism | None:
    if not outcome.on_test:
        return None
    result = cast("float", outcome.summary[primary])
    # The result is a candidate too: fitted alone, a setting may be an image better than fitted among others.
    best = max(result, *(trial.value for _, trial in outcome.on_test))
    return schema.Optimism(best=best, value=best - result, trials=_grid(outcome.on_test))
