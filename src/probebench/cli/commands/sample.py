"""`probebench sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 64
"""Images on the grid: more are too many to look at."""


def sample(
    count: Annotated[int, typer.Option(help="Images in all; those that are there are not drawn again.")],
    out: Annotated[Path, typer.Option(help="Folder of the images.")],
    backbone: Annotated[str, typer.Option(metavar="SPEC", help="Backbone to draw from, such as ddpm.")] = "ddpm",
    sampling: Annotated[str, typer.Option(help="Options of the sampler, such as sampler=ddim,steps=100.")] = "",
    npz: Annotated[bool, typer.Option("--npz", help="Also write all images into one array, samples.npz.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all noise.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Images that go through the network together.", show_default="the backbone's")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "fp32",
) -> None:
    """Draw images from a generative backbone; run the same command again to go on after an interruption."""
    from probebench.board.figures.contact_sheet import image_grid, write_png
    from probebench.generation.sample import sample as draw
    from probebench.plugins.registry import resolve
    from probebench.util.spec_text import parse_spec

    drawn = draw(
        resolve("backbone", backbone),
        sampling=parse_spec(f"sampling:{sampling}").options if sampling else {},
        count=count,
        out=out,
        seed=seed,
        device=device,
        precision=precision,
        batch_size=batch_size,
    )
    folder = drawn.folder
    there = f", {count - drawn.made:,} were there" if drawn.made < count else ""
    typer.echo(f"images: {folder.images} ({drawn.made:,} drawn{there})")
    grid = out / "grid.png"
    write_png(image_grid([folder.read(number) for number in range(min(count, _SHOWN))]), grid)
    typer.echo(f"grid:   {grid}")
    if npz:
        typer.echo(f"array:  {folder.write_npz(count)}")
