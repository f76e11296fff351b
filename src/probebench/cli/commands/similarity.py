"""`probebench similarity A B`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.util.defaults import DEFAULT_DATASET, default_store
from probebench.util.errors import UsageError
from probebench.util.parsing import parse_words

if TYPE_CHECKING:
    from probebench.stats.tap_matrix import BackbonePoints, Matrix, TapMatrix


def similarity(
    a: Annotated[str, typer.Argument(metavar="A", help="Backbone of the rows, such as ddpm", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="Backbone of the columns", show_default=False)],
    dataset: Annotated[str, typer.Option(help="Dataset, such as cifar10")] = DEFAULT_DATASET,
    split: Annotated[str, typer.Option(help="Split of the images: test, val or train")] = "test",
    taps: Annotated[
        list[str] | None,
        typer.Option(help="Taps such as mid,up.1, or all; given twice: the taps of A, then those of B"),
    ] = None,
    levels: Annotated[
        list[str] | None, typer.Option(help="Noise levels such as 0,10; given twice: the levels of A, then those of B")
    ] = None,
    pool: Annotated[str, typer.Option(help="Pooling: gap, gridN, max, cls or flat")] = "gap",
    limit: Annotated[int | None, typer.Option(help="Number of images")] = None,
    minibatch: Annotated[
        int | None, typer.Option(help="Images of a minibatch of CKA", show_default="all at once")
    ] = None,
    noise_seed: Annotated[int, typer.Option(help="Seed of the noise added to images")] = 0,
    precision: Annotated[str, typer.Option(help="Precision of the backbones: auto, fp32 or bf16")] = "auto",
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N")] = "auto",
    store: Annotated[Path | None, typer.Option(help="Folder of the feature store")] = None,
    out: Annotated[Path | None, typer.Option(help="File of a figure of both matrices, .png or .svg")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False,
) -> None:
    """Compares the features of two backbones tap by tap: linear CKA (unbiased) and CKNNA."""
    from probebench.analysis.tap_similarity import compare_taps
    from probebench.board.figures import files as figures
    from probebench.planning.device import pick_device
    from probebench.planning.jobs import Job, Settings
    from probebench.planning.points import RequestedPoints
    from probebench.planning.request import check_points
    from probebench.plugins.registry import resolve

    if out:
        figures.check_file(out)
    check_points(pool, limit=limit, precision=precision)
    with quiet_stdout(as_json):
        settings = Settings(limit=limit, noise_seed=noise_seed, precision=precision, device=pick_device(device))
        images, backbones = resolve("dataset", dataset), [resolve("backbone", text) for text in (a, b)]
        of_taps, of_levels = _both(taps or [], "--taps"), _both(levels or [], "--levels")
        only = backbones[0] == backbones[1]
        first, second = (
            Job(backbone, images, "features", (), RequestedPoints(of_taps[i], of_levels[i], pool, only), settings)
            for backbone, i in zip(backbones, (0, -1), strict=True)
        )
        matrix = compare_taps(first, second, store=store or default_store(), split=split, minibatch=minibatch)
    for warning in matrix.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(_document(matrix))
    else:
        _print(matrix)
    if out:
        from probebench.board.figures.similarity import plot_similarity

        figures.write_one(out, lambda: plot_similarity(matrix))
        typer.echo(f"wrote {out}", err=as_json)


def _both(texts: list[str], where: str) -> list[tuple[str, ...]]:
    if len(texts) > 2:
        raise UsageError(
            f"{where} is given {len(texts)} times", hint=f"give {where} once for both backbones, or once for each"
        )
    return [parse_words(text, where=where) for text in texts] or [()]


def _document(matrix: TapMatrix) -> dict[str, Any]:
    from probebench.stats.tap_matrix import CKNNA_K

    return {
        "dataset": matrix.dataset,
        "split": matrix.split,
        "images": matrix.images,
        "a": _side(matrix.a),
        "b": _side(matrix.b),
        "cka": {
            "estimator": "linear, unbiased HSIC",
            "minibatch": matrix.minibatch,
            "values": _finite(matrix.cka),
        },
        "cknna": {"k": CKNNA_K, "values": _finite(matrix.cknna)},
        "forwarded": matrix.forwarded,
    }


def _side(side: BackbonePoints) -> dict[str, Any]:
    return {
        "backbone": side.backbone,
        "fingerprint": side.fingerprint,
        "points": [{"tap": point.tap, "level": point.level, "pool": point.pool} for point in side.points],
    }


def _finite(values: Matrix) -> list[list[float | None]]:
    return [[None if math.isnan(value) else value for value in row] for row in values]


def _print(matrix: TapMatrix) -> None:
    from probebench.stats.tap_matrix import CKNNA_K

    estimator = "unbiased" + (f", minibatches of {matrix.minibatch}" if matrix.minibatch else "")
    typer.echo(f"{matrix.dataset}, {matrix.images:,} {matrix.split} images")
    for name, side in (("rows", matrix.a), ("columns", matrix.b)):
        typer.echo(f"{name + ':':<9}{side.title}")
    for title, values in (
        (f"linear CKA ({estimator})", matrix.cka),
        (f"CKNNA (k = {CKNNA_K}; {CKNNA_K / matrix.images:.3f} by chance)", matrix.cknna),
    ):
        typer.echo(f"\n{title}")
        rows = [[label, *map(_number, row)] for label, row in zip(matrix.a.labels, values, strict=True)]
        print_table(("", *matrix.b.labels), rows)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
