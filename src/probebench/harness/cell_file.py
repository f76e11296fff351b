"""A cell, its identity, and the file of its record."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
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
        argv: The command.
    """

    job: Job
    ruled: RuledProbe
    seed: int
    results: Path
    argv: tuple[str, ...] = ()

    @property
    def probe(self) -> Component:
        """The probe."""
        return self.ruled.probe

    def identity(self, description: JobDescription | None) -> str:
        """Returns a digest of everything that can change the number; of the request, where nothing can be described."""
        settings, points = self.job.settings, self.job.points
        document: dict[str, Any] = {
            "backbone": self.job.backbone.identity(),
            "dataset": self.job.dataset.identity(),
            "protocol": self.ruled.protocol.hash,
            "seed": self.seed,
            "noise_seed": settings.noise_seed,
            "limit": settings.limit,
        }
        if description:
            return digest(document | description.identity())
        document["asked"] = {"taps": points.taps, "levels": points.levels, "pool": points.pool}
        if settings.soft_vote:
            document["soft_vote"] = True
        return digest(document | {"precision": settings.precision})

    def path(self, description: JobDescription | None) -> Path:
        """Returns the path of the record; a failed cell has another one, whose name does not need the weights."""
        name = f"{_slug(self.ruled.protocol.name)}-seed{self.seed}-{self.identity(description)[:8]}"
        folder = self.results / _slug(self.job.dataset.title) / _slug(self.job.backbone.title)
        return folder / (f"{name}.json" if description else f"{name}.failed.json")

    def finished(self, description: JobDescription) -> Record | None:
        """Returns the record of this cell, if it is whole and successful and holds all that is requested."""
        path = self.path(description)
        if not path.is_file():
            return None
        try:
            record = files.read_record(path)
            if not record.generation:
                files.read_predictions(record, path)
        except RecordError:
            return None
        if self.job.settings.optimism and not record.optimism and not record.generation:
            return None
        return record if record.id == self.identity(description) and record.status == "success" else None

    def keep(self, description: JobDescription, record: Record) -> None:
        """Writes the record of a success, and removes that of an earlier failure."""
        # The failure goes first: a process killed between the two leaves nothing, and the cell is run again. The other
        # way round it would leave both, and nobody would come back for the failure.
        self.path(None).unlink(missing_ok=True)
        files.write_record(record, self.path(description))

    def fail(self, description: JobDescription | None, error: ProbebenchError) -> Record:
        """Writes a record that says why there is no number."""
        record = schema.Record(
            id=self.identity(description),
            status="error",
            smoke=self.job.settings.limit is not None,
            cell=self.cell(description),
            protocol=self.ruled.protocol,
            provenance=self.provenance(description.device if description else "cpu"),
            warnings=description.warnings if description else (),
            error=schema.Failure(type=type(error).__name__, message=str(error)),
        )
        files.write_record(record, self.path(None))
        return record

    def cell(self, description: JobDescription | None) -> schema.Cell:
        """Returns what is run; without fingerprints and classes, where nothing can be described."""
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
        """Where the number comes from."""
        extractor = self.ruled.extractor
        used = (self.job.backbone, self.job.dataset, self.probe, *([extractor.component] if extractor else []))
        return provenance.collect(
            plugins={component.entry.distribution: component.entry.version for component in used},
            argv=self.argv,
            device_name=device_name(device),
        )


def _slug(title: str) -> str:
    """A title as a file name, cut to what file systems take: the identity behind it tells cells apart."""
    return re.sub(r"[^a-z0-9.=+]+", "-", title.lower()).strip("-.")[:_LONGEST_SLUG]
