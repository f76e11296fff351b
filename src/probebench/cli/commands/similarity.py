"""`probebench similarity A B`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table, quiet_stdout
from probebench.util.defaults import DEFAULT_DATASET, default_store
from probebench.util.errors import UsageError
from probebench.util.parsing import parse_words

if TYPE_CHECKING:
    from probebench.planning.request import Request
    from probebench.stats.tap_matrix import BackbonePoints, Matrix, TapMatrix


def similarity(
    a: Annotated[str, typer.Argument(metavar="A", help="Backbone SPEC: the rows.", show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="Backbone SPEC: the columns.", show_default=False)],
    dataset: Annotated[str, typer.Option(help="Dataset spec.")] = DEFAULT_DATASET,
    split: Annotated[str, typer.Option(help="Whose images are read: test, val or train.")] = "test",
    taps: Annotated[
        list[str] | None, typer.Option(help="Taps such as mid,up.1, or all; a second time for those of B.")
    ] = None,
    levels: Annotated[
        list[str] | None, typer.Option(help="Noise levels such as 0,10; a second time for those of B.")
    ] = None,
    pool: Annotated[str, typer.Option(help="gap, gridN, max, cls or flat.")] = "gap",
    limit: Annotated[int | None, typer.Option(help="Images to read.")] = None,
    minibatch: Annotated[
        int | None, typer.Option(help="Images of a minibatch of CKA.", show_default="all at once")
    ] = None,
    noise_seed: Annotated[int, typer.Option(help="Seed of the noise added to images.")] = 0,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16, of the backbones.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    store: Annotated[Path | None, typer.Option(help="Folder of the feature store.")] = None,
    out: Annotated[Path | None, typer.Option(help="File of a picture of both matrices, .png or .svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compares what two backbones see, tap by tap: linear CKA (unbiased) and CKNNA."""
    from probebench.analysis.tap_similarity import compare_taps
    from probebench.board.figures import files as figures
    from probebench.planning.request import Request

    if out:
        figures.check_file(out)
    request = Request(
        backbones=(a,),
        datasets=(dataset,),
        probes=(),
        results=Path(),
        store=store or default_store(),
        pool=pool,
        limit=limit,
        noise_seed=noise_seed,
        precision=precision,
        device=device,
    )
    with quiet_stdout(as_json):
        first, second = _sides(request, b, taps or [], levels or [])
        matrix = compare_taps(first, second, split=split, minibatch=minibatch)
    for warning in matrix.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        print_json(_document(matrix))
    else:
        _print(matrix)
    if out:
        from probebench.board.figures import similarity as picture

        figures.write_one(out, lambda: picture.draw(matrix))
        typer.echo(f"wrote {out}", err=as_json)


def _sides(request: Request, b: str, taps: list[str], levels: list[str]) -> tuple[Request, Request]:
    """The requests of both sides: what is given once holds for both."""
    of_taps, of_levels = _both(taps, "--taps"), _both(levels, "--levels")
    return (
        replace(request, taps=of_taps[0], levels=of_levels[0]),
        replace(request, backbones=(b,), taps=of_taps[-1], levels=of_levels[-1]),
    )


def _both(texts: list[str], where: str) -> list[tuple[str, ...]]:
    if len(texts) > 2:
        raise UsageError(f"{where} is given {len(texts)} times", hint="once for both backbones, or once for each")
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
