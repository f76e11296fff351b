"""A cell, its identity, and the file of its record."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from probebench.planning.baselines import is_baseline
from probebench.planning.device import device_name
from probebench.records import files, provenance, schema
from probebench.util.errors import RecordError
from probebench.util.hashing import digest

if TYPE_CHECKING:
    from pathlib import Path

    from probebench.planning.description import JobDescription
    from probebench.planning.jobs import Job
    from probebench.planning.protocol import RuledProbe
    from probebench.plugins.registry import Component
    from probebench.records.schema import Record
    from probebench.util.errors import ProbebenchError

_LONGEST_SLUG = 120


@dataclass(frozen=True)
class CellFile:
    """One cell, and the file of its record.

    Attributes:
        job: Backbone and dataset.
        ruled: The probe, and its protocol.
        seed: Of the probe and of the carved validation part.
        results: Folder of the records.
        description: What identifies the job; None where its components cannot be described.
        argv: The command.
    """

    job: Job
    ruled: RuledProbe
    seed: int
    results: Path
    description: JobDescription | None
    argv: tuple[str, ...] = ()

    @property
    def probe(self) -> Component:
        """The probe."""
        return self.ruled.probe

    @cached_property
    def identity(self) -> str:
        """Digest of everything that can change the number; of the request, where nothing can be described."""
        return digest(self._request | (self.description.identity() if self.description else self._as_written))

    @cached_property
    def path(self) -> Path:
        """The record of a success."""
        return self._folder / f"{self._name}-{self.identity[:8]}.json"

    @cached_property
    def failure_path(self) -> Path:
        """The record of a failure, under a name that does not need the weights."""
        return self._folder / f"{self._name}-{digest(self._request | self._as_written)[:8]}.failed.json"

    @cached_property
    def _request(self) -> dict[str, Any]:
        return {
            "backbone": self.job.backbone.identity(),
            "dataset": self.job.dataset.identity(),
            "protocol": self.ruled.protocol.hash,
            "seed": self.seed,
            "noise_seed": self.job.settings.noise_seed,
            "limit": self.job.settings.limit,
        }

    @property
    def _as_written(self) -> dict[str, Any]:
        """What identifies a cell whose points are not known."""
        points, settings = self.job.points, self.job.settings
        written = {"taps": points.taps, "levels": points.levels, "pool": points.pool}
        soft_vote = {"soft_vote": True} if settings.soft_vote else {}
        return {"asked": written, "precision": settings.precision, **soft_vote}

    @cached_property
    def _folder(self) -> Path:
        return self.results / _slug(self.job.dataset.title) / _slug(self.job.backbone.title)

    @property
    def _name(self) -> str:
        return f"{_slug(self.ruled.protocol.name)}-seed{self.seed}"

    def finished(self) -> Record | None:
        """Returns the record of this cell, if it is whole and successful and holds all that is requested."""
        if not self.path.is_file():
            return None
        try:
            record = files.read_record(self.path)
            if not record.generation:
                files.read_predictions(record, self.path)
        except RecordError:
            return None
        if self.job.settings.optimism and not record.optimism and not record.generation:
            return None
        return record if record.id == self.identity and record.status == "success" else None

    def keep(self, record: Record) -> None:
        """Writes the record of a success, and removes that of an earlier failure."""
        # The failure is removed first: a process killed between the two leaves no record, and the cell is run again. In
        # the other order both would stay, and nothing would remove the failure later.
        self.failure_path.unlink(missing_ok=True)
        files.write_record(record, self.path)

    def fail(self, error: ProbebenchError) -> Record:
        """Writes a record with the reason of a failure."""
        description = self.description
        record = schema.Record(
            id=self.identity,
            status="error",
            smoke=self.job.settings.limit is not None,
            cell=self.cell(),
            protocol=self.ruled.protocol,
            provenance=self.provenance(description.device if description else "cpu"),
            warnings=description.warnings if description else (),
            error=schema.Failure(type=type(error).__name__, message=str(error)),
        )
        files.write_record(record, self.failure_path)
        return record

    def cell(self) -> schema.Cell:
        """Returns what is run; without fingerprints and classes, where nothing can be described."""
        description = self.description
        backbone, dataset, settings = self.job.backbone, self.job.dataset, self.job.settings
        stage = description.backbone.training_stage if description else None
        return schema.Cell(
            backbone=schema.BackboneCell(
                title=backbone.title,
                **backbone.identity(),
                fingerprint=description.backbone.fingerprint if description else None,
                parameters=description.backbone.parameters if description else None,
                baseline=is_baseline(backbone),
                trained=schema.TrainingCell(**asdict(stage)) if stage else None,
            ),
            dataset=schema.DatasetCell(
                title=dataset.title,
                **dataset.identity(),
                fingerprints=dict(description.dataset.fingerprints) if description else {},
                classes=description.dataset.classes if description else (),
                image_size=description.dataset.image_size if description else None,
            ),
            probe=schema.ProbeCell(title=self.probe.title, **self.probe.identity()),
            seed=self.seed,
            noise_seed=settings.noise_seed,
            precision=description.precision if description else "fp32",
            device=description.device if description else "cpu",
            limit=settings.limit,
        )

    def provenance(self, device: str) -> provenance.Provenance:
        """Returns where the number comes from."""
        extractor = self.ruled.extractor
        used = (self.job.backbone, self.job.dataset, self.probe, *([extractor.component] if extractor else []))
        return provenance.current_provenance(
            plugins={component.entry.distribution: component.entry.version for component in used},
            argv=self.argv,
            device_name=device_name(device),
        )


def _slug(title: str) -> str:
    """Returns a title as a file name, cut to a length that file systems accept; the identity after it is unique."""
    return re.sub(r"[^a-z0-9.=+]+", "-", title.lower()).strip("-.")[:_LONGEST_SLUG]
