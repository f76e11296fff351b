"""Synthetic records: whole and valid, with whatever a test wants to be different."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from probebench.records import (
    BackboneCell,
    Candidates,
    Cell,
    Chosen,
    DatasetCell,
    ExtractorCell,
    Failure,
    GridTrial,
    Measure,
    Part,
    ProbeCell,
    Protocol,
    Record,
    Samples,
    Selection,
    Timing,
    Trained,
    write_predictions,
    write_record,
)
from probebench.stats import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

CLASSES = tuple(f"class {number}" for number in range(10))
TAPS = ("down.0", "mid", "up.1")
LEVELS = ("t=0", "t=50")


def sha(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def images(right: Iterable[int] | int, n: int = 200) -> np.ndarray:
    """Whether each of `n` images is right: the first `right` ones, or those that are named."""
    correct = np.zeros(n, dtype=bool)
    correct[list(range(right) if isinstance(right, int) else right)] = True
    return correct


def save_record(
    folder: Path,
    backbone: str = "ddpm",
    *,
    correct: np.ndarray | None = None,
    seed: int = 0,
    name: str | None = None,
    baseline: bool = False,
    version: int = 1,
    fingerprint: str | None = None,
    parameters: int = 2_200_000,
    dataset: str = "scattered-digits",
    dataset_name: str | None = None,
    dataset_version: int = 1,
    images_fingerprint: str = "images",
    test_indices: str = "all",
    probe: str = "knn",
    protocol_hash: str = "protocol",
    tap: str = "up.1",
    level: str = "t=50",
    params: dict[str, Any] | None = None,
    precision: str = "fp32",
    device_name: str = "Toy CPU",
    limit: int | None = None,
    dirty: bool = False,
    created: str = "2026-01-01T00:00:00Z",
    forwarded: int = 1000,
    failure: str | None = None,
    method: str | None = "wilson",
    grid: dict[tuple[str, str], float] | None = None,
    primary: str = "top1",
    higher_is_better: bool = True,
    trained: tuple[str, int, int] | None = None,
    distances: dict[str, float] | None = None,
    floor: float | None = None,
    frozen: bool = True,
) -> Path:
    """Writes a record with its predictions and returns its path."""
    correct = images(140) if correct is None else correct
    n, share = len(correct), float(correct.mean())
    path = folder / f"{name or f'{backbone}-{dataset}-{probe}-s{seed}'.replace(':', '-')}.json"
    low, high = wilson(int(correct.sum()), n) if method else (None, None)
    cell = Cell(
        backbone=BackboneCell(
            title=backbone,
            name=f"probebench-x/{backbone.split(':')[0]}",
            version=version,
            options={"title": backbone},
            fingerprint=sha(fingerprint or backbone),
            parameters=parameters,
            baseline=baseline,
            trained=trained
            and Trained(recipe=sha(trained[0]), seed=trained[1], epoch=trained[2], images=90 * trained[2]),
        ),
        dataset=DatasetCell(
            title=dataset,
            name=dataset_name or f"probebench-datasets/{dataset}",
            version=dataset_version,
            options={},
            fingerprints={"train": sha("train", images_fingerprint), "test": sha("test", images_fingerprint)},
            classes=CLASSES,
            image_size=(16, 16),
        ),
        probe=ProbeCell(title=probe, name=f"probebench-probes/{probe}", version=1, options={}),
        seed=seed,
        noise_seed=seed,
        precision=precision,
        device="cpu",
        limit=limit,
    )
    values = grid or {(t, a): 0.4 + 0.1 * i + 0.05 * j for i, t in enumerate(TAPS) for j, a in enumerate(LEVELS)}
    trials = [
        GridTrial(tap=t, level=a, pool="gap", params={"k": k}, value=value - 0.01 * (k == 1))
        for (t, a), value in values.items()
        for k in (1, 20)
    ]
    ok = failure is None
    results = {
        "candidates": Candidates(taps=TAPS, levels=LEVELS, pool="gap"),
        "selection": Selection(rule="highest value, first wins", carved=True, val_fraction=0.1),
        "parts": {
            "train": Part(split="train", count=900, indices=sha("train", seed)),
            "val": Part(split="train", count=100, indices=sha("val", seed)),
            "test": Part(split="test", count=n, indices=sha("test", test_indices)),
        },
        "grid": tuple(trials),
        "chosen": Chosen(
            tap=tap,
            level=level,
            pool="gap",
            params=params or {"k": 20},
            value=values.get((tap, level), 0.5),
            sigma={"t=0": 0.01, "t=50": 0.25}.get(level, 0.0),
            dim=128,
            cost=0.75,
        ),
        "primary": primary,
        "metrics": {
            "top1": Measure(value=share, low=low, high=high, n=n, method=method, higher_is_better=higher_is_better),
            "top5": Measure(value=(share + 1) / 2, n=n, method=None),
            "mean_per_class": Measure(value=share * 0.9, n=n, method=None),
            "ece15": Measure(value=0.1, n=n, method=None, higher_is_better=False),
        },
        "per_class": (share,) * 9 + (None,),
        "timing": Timing(extract_s=2.5 * forwarded / 1000, probe_s=0.2, forwarded=forwarded),
        "predictions": write_predictions(path, np.zeros(n, dtype=int), ~np.asarray(correct, dtype=bool))
        if ok
        else None,
    }
    if distances:
        extractor = ExtractorCell(
            title="inception",
            name="probebench-x/inception",
            version=1,
            options={},
            fingerprint=sha("inception"),
            tap="2048",
            level="clean",
            pool="flat",
        )
        results = {
            "samples": Samples(count=2000, sampling={}, fingerprint=sha("drawn", backbone), extractor=extractor),
            "parts": {"reference": Part(split="test", count=n, indices=sha("test"))},
            "primary": next(iter(distances)),
            "metrics": {
                name: Measure(value=value, n=2000, method=None, higher_is_better=False, floor=floor)
                for name, value in distances.items()
            },
            "timing": results["timing"],
        }
    consumes = {"consumes": "samples"} if distances else {} if frozen else {"consumes": "backbone"}
    record = Record(
        id=sha(backbone, dataset, probe, seed, limit, precision),
        status="success" if ok else "error",
        smoke=limit is not None,
        cell=cell,
        protocol=Protocol(name=probe, hash=sha(protocol_hash), document={"probe": probe, "k": [1, 20], **consumes}),
        provenance={
            "created": created,
            "probebench": "0.1.0",
            "python": "3.11.7",
            "packages": {"torch": "2.6.0", "timm": None},
            "plugins": {"probebench-x": "0.1.0"},
            "git": {"commit": "c" * 40, "dirty": dirty},
            "argv": ("run", "--backbone", backbone),
            "device_name": device_name,
            "platform": "linux-x86_64",
        },
        peak_memory_mb=512.5,
        error=None if ok else Failure(type=failure, message="it broke"),
        **(results if ok else {}),
    )
    write_record(record, path)
    return path


@pytest.fixture(name="save_record")
def _save_record(tmp_path: Path) -> Callable[..., Path]:
    def save(*args: Any, folder: Path | None = None, **kwargs: Any) -> Path:
        return save_record(folder or tmp_path / "records", *args, **kwargs)

    return save


@pytest.fixture(name="images")
def _images() -> Callable[..., np.ndarray]:
    return images
