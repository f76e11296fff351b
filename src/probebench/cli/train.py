"""`probebench train`."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import Annotated

import typer

from probebench.config import DEFAULT_DATASET, parse_duration


def train(
    backbone: Annotated[str, typer.Argument(metavar="SPEC", help="Backbone to train, such as ddpm:attention=false.")],
    epochs: Annotated[int, typer.Option(help="Epochs in all; an interrupted run goes on to this number.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    dataset: Annotated[str, typer.Option(help="Dataset whose train images are used; labels are not read.")] = (
        DEFAULT_DATASET
    ),
    split: Annotated[str, typer.Option(help="train, or a split without labels such as stl10's unlabeled.")] = "train",
    recipe: Annotated[str, typer.Option(help="Options of the training, such as lr=2e-4,batch_size=64.")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    max_time: Annotated[str, typer.Option(help="Save and stop after this long, such as 90m or 1h30m.")] = "",
    download: Annotated[
        bool, typer.Option("--download", help="First download the dataset if it is not there.")
    ] = False,
) -> None:
    """Train a backbone; run the same command again to go on after an interruption."""
    from probebench.config import parse_spec
    from probebench.registry import resolve
    from probebench.training import train as run

    images = resolve("dataset", dataset)
    if download:
        from probebench.fetching import fetch_missing

        fetch_missing([images])
    ended = run(
        resolve("backbone", backbone),
        images,
        split=split,
        recipe=parse_spec(f"recipe:{recipe}").options if recipe else {},
        epochs=epochs,
        out=out,
        seed=seed,
        device=device,
        precision=precision,
        max_seconds=parse_duration(max_time, where="--max-time") if max_time else None,
        heard=tell,
    )
    trained = f"{backbone}{',' if ':' in backbone else ':'}checkpoint={ended.checkpoint}"
    typer.echo(f"checkpoint: {ended.checkpoint}")
    typer.echo(f"next:       probebench run --backbone {trained} --dataset {dataset}")
    if ended.place:
        given = {"--recipe": recipe, "--seed": seed, "--max-time": max_time}
        given |= {name: word for name, word in (("--device", device), ("--precision", precision)) if word != "auto"}
        given |= {"--split": split} if split != "train" else {}
        words = ["probebench", "train", backbone, "--dataset", dataset, "--epochs", str(epochs), "--out", str(out)]
        words += [word for name, value in given.items() if value for word in (name, str(value))]
        typer.echo(f"stopped:    {'time is up' if ended.signal is None else 'interrupted'} at {ended.place}")
        typer.echo(f"go on:      {shlex.join(words)}")
    if ended.signal is not None:
        raise typer.Exit(128 + ended.signal)


def tell(number: int) -> None:
    """Says that a signal was heard."""
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    typer.echo(f"{name}: saving after this step; once more ends it at once", err=True)
