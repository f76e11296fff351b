"""`probebench sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 64
"""Number of images on the grid."""


def sample(
    count: Annotated[int, typer.Option(help="Number of images, including existing ones")],
    out: Annotated[Path, typer.Option(help="Folder of the images")],
    backbone: Annotated[str, typer.Option(metavar="SPEC", help="Generative backbone, such as ddpm")] = "ddpm",
    sampling: Annotated[str, typer.Option(help="Options of the sampler, such as sampler=ddim,steps=100")] = "",
    npz: Annotated[bool, typer.Option("--npz", help="Write all images as one array as well, samples.npz")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all noise")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Images of a batch", show_default="the backbone's")] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N")] = "auto",
    precision: Annotated[str, typer.Option(help="Precision: auto, fp32 or bf16")] = "fp32",
) -> None:
    """Generates images with a backbone; the same command resumes an interrupted run."""
    from probebench.board.figures.contact_sheet import image_grid, write_png
    from probebench.generation.sample import sample as generate
    from probebench.plugins.registry import resolve
    from probebench.util.spec_text import parse_spec

    result = generate(
        resolve("backbone", backbone),
        sampling=parse_spec(f"sampling:{sampling}").options if sampling else {},
        count=count,
        out=out,
        seed=seed,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )
    folder = result.folder
    existing = f", {count - result.made:,} existed" if result.made < count else ""
    typer.echo(f"images: {folder.images} ({result.made:,} generated{existing})")
    grid = out / "grid.png"
    write_png(image_grid([folder.read(number) for number in range(min(count, _SHOWN))]), grid)
    typer.echo(f"grid:   {grid}")
    if npz:
        typer.echo(f"array:  {folder.write_npz(count)}")
