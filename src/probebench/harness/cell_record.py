"""Cells as files: what identifies one, where its record lies, and what goes into it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from probebench.planning.baselines import is_baseline
from probebench.planning.device import device_name, peak_memory_mb
from probebench.planning.protocol import RULE, VAL_FRACTION
from probebench.probing.measures import with_intervals
from probebench.records import files, provenance, schema
from probebench.store.neighbours import Origin, save_neighbours
from probebench.util.errors import RecordError
from probebench.util.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from probebench.api import Point, Trial
    from probebench.extraction.context import Built, Context
    from probebench.planning.jobs import Job
    from probebench.planning.protocol import RuledProbe
    from probebench.planning.request import Request
    from probebench.plugins.registry import Component
    from probebench.probing.cell import Outcome
    from probebench.records.schema import Record
    from probebench.util.errors import ProbebenchError


_LONGEST_SLUG = 120


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


@dataclass(frozen=True)
class CellFile:
    """One cell, and where its record goes.

    Attributes:
        job: Backbone and dataset.
        ruled: What is fitted, and under which protocol.
        seed: Of the probe and of the carved validation part.
        argv: The command.
    """

    job: Job
    ruled: RuledProbe
    seed: int
    argv: tuple[str, ...] = ()

    @property
    def request(self) -> Request:
        """The run."""
        return self.job.request

    @property
    def probe(self) -> Component:
        """What is fitted."""
        return self.ruled.probe

    def identity(self, context: Built | None) -> str:
        """Digest of everything that can change the number; of what was asked for, where nothing could be built."""
        document: dict[str, Any] = {
            "backbone": self.job.backbone.identity(),
            "dataset": self.job.dataset.identity(),
            "protocol": self.ruled.protocol.hash,
            "seed": self.seed,
            "noise_seed": self.request.noise_seed,
            "limit": self.request.limit,
        }
        if context is None:
            asked = {"taps": self.request.taps, "levels": self.request.levels, "pool": self.request.pool}
            if self.request.soft_vote:
                document["soft_vote"] = True
            return digest({**document, "asked": asked, "precision": self.request.precision})
        return digest({**document, **context.identity()})

    def path(self, context: Built | None) -> Path:
        """Where the record lies; that of a failed cell is kept apart, under a name that does not need the weights."""
        name = f"{_slug(self.ruled.protocol.name)}-seed{self.seed}-{self.identity(context)[:8]}"
        folder = self.request.results / _slug(self.job.dataset.title) / _slug(self.job.backbone.title)
        return folder / (f"{name}.json" if context else f"{name}.failed.json")

    def finished(self, context: Built) -> Record | None:
        """The record of this very cell, if it is there, whole and successful, with all that is asked for."""
        path = self.path(context)
        if not path.is_file():
            return None
        try:
            record = files.read_record(path)
            if not record.generation:
                files.read_predictions(record, path)
        except RecordError:
            return None
        if self.request.optimism and not record.optimism and not record.generation:
            return None
        return record if record.id == self.identity(context) and record.status == "success" else None

    def succeed(self, context: Context, outcome: Outcome, spent: Spent, warnings: Sequence[str]) -> Record:
        """Writes predictions, neighbours and record, and removes what an earlier failure left."""
        path = self.path(context)
        artifact = files.write_predictions(path, outcome.predicted.numpy(), outcome.labels.numpy())
        neighbours = {part: self._keep(context, outcome, part) for part in sorted(outcome.neighbours)}
        point, best = outcome.chosen
        tap, level = context.reading.taps[point.tap], context.reading.levels[point.level]
        record = schema.Record(
            id=self.identity(context),
            status="success",
            smoke=self.request.limit is not None,
            cell=self.cell(context),
            protocol=self.ruled.protocol,
            candidates=schema.Candidates(
                taps=tuple(context.reading.taps), levels=tuple(context.reading.levels), pool=self.request.pool
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
            provenance=self.provenance(context.device),
            timing=schema.Timing(extract_s=spent.extract_s, probe_s=spent.probe_s, forwarded=spent.forwarded),
            peak_memory_mb=peak_memory_mb(),
            warnings=tuple(dict.fromkeys((*context.warnings, *warnings))),
        )
        self.keep(context, record)
        return record

    def _keep(self, context: Context, outcome: Outcome, part: str) -> str:
        """Stores the neighbours of the images of a part; gives the digest that they are found by."""
        origin = Origin(
            backbone=f"{self.job.backbone.entry.qualified} {context.fingerprints['backbone'][:8]}",
            split=f"{context.source(outcome.parts[part].split)}" + " (val)" * (part == "val" and outcome.carved),
            point=str(outcome.chosen[0]),
        )
        return save_neighbours(self.request.store, outcome.neighbours[part], origin)

    def keep(self, context: Built, record: Record) -> None:
        """Writes the record of a success, and removes what an earlier failure left."""
        # The failure goes first: a process killed between the two leaves nothing, and the cell is run again. The other
        # way round it would leave both, and nobody would come back for the failure.
        self.path(None).unlink(missing_ok=True)
        files.write_record(record, self.path(context))

    def fail(self, context: Built | None, error: ProbebenchError) -> Record:
        """Writes a record that says why there is no number."""
        record = schema.Record(
            id=self.identity(context),
            status="error",
            smoke=self.request.limit is not None,
            cell=self.cell(context),
            protocol=self.ruled.protocol,
            provenance=self.provenance(context.device if context else "cpu"),
            warnings=context.warnings if context else (),
            error=schema.Failure(type=type(error).__name__, message=str(error)),
        )
        files.write_record(record, self.path(None))
        return record

    def cell(self, context: Built | None) -> schema.Cell:
        """What was run; without what only a built component knows, where nothing could be built."""
        backbone, dataset = self.job.backbone, self.job.dataset
        digests = dict(context.fingerprints) if context else {}
        return schema.Cell(
            backbone=schema.BackboneCell(
                title=backbone.title,
                **backbone.identity(),
                fingerprint=digests.pop("backbone", None),
                parameters=context.backbone.parameters if context else None,
                baseline=is_baseline(backbone),
                trained=_trained(context),
            ),
            dataset=schema.DatasetCell(
                title=dataset.title,
                **dataset.identity(),
                fingerprints=digests,
                classes=tuple(context.dataset.classes) if context else (),
                image_size=context.dataset.image_size if context else None,
            ),
            probe=schema.ProbeCell(title=self.probe.title, **self.probe.identity()),
            seed=self.seed,
            noise_seed=self.request.noise_seed,
            precision=context.precision if context else "fp32",
            device=context.device if context else "cpu",
            limit=self.request.limit,
        )

    def provenance(self, device: str) -> provenance.Provenance:
        """Where the number comes from."""
        extractor = self.ruled.extractor
        used = (self.job.backbone, self.job.dataset, self.probe, *([extractor.component] if extractor else []))
        return provenance.current_provenance(
            plugins={component.entry.distribution: component.entry.version for component in used},
            argv=self.argv,
            device_name=device_name(device),
        )


def _trained(context: Built | None) -> schema.TrainingCell | None:
    known = context.backbone.training_stage if context else None
    return schema.TrainingCell(**asdict(known)) if known else None


def _grid(trials: Sequence[tuple[Point, Trial]]) -> tuple[schema.GridTrial, ...]:
    return tuple(
        schema.GridTrial(tap=at.tap, level=at.level, pool=at.pool, params=dict(trial.params), value=trial.value)
        for at, trial in trials
    )


def _optimism(outcome: Outcome, primary: str) -> schema.Optimism | None:
    if not outcome.on_test:
        return None
    result = cast("float", outcome.summary[primary])
    # The result is one of the candidates, and fitted alone may be an image better than among others.
    best = max(result, *(trial.value for _, trial in outcome.on_test))
    return schema.Optimism(best=best, value=best - result, trials=_grid(outcome.on_test))


def _slug(title: str) -> str:
    """A title as a file name, cut to what file systems take: the identity behind it tells cells apart."""
    return re.sub(r"[^a-z0-9.=+]+", "-", title.lower()).strip("-.")[:_LONGEST_SLUG]
