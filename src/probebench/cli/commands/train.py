"""`probebench train`."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probebench.util.defaults import DEFAULT_DATASET
from probebench.util.parsing import parse_duration
from probebench.util.spec_text import parse_spec, write_value

if TYPE_CHECKING:
    from probebench.harness.training import TrainingResult


def train(
    backbone: Annotated[str, typer.Argument(metavar="SPEC", help="Backbone to train, such as ddpm:attention=false")],
    epochs: Annotated[int, typer.Option(help="Total number of epochs; an interrupted run resumes up to this number")],
    out: Annotated[Path, typer.Option(help="Folder of the run")],
    dataset: Annotated[str, typer.Option(help="Dataset whose train images are used; labels are not read")] = (
        DEFAULT_DATASET
    ),
    split: Annotated[str, typer.Option(help="train, or a split without labels such as stl10's unlabeled")] = "train",
    recipe: Annotated[str, typer.Option(help="Options of the training, such as lr=2e-4,batch_size=64")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and noise")] = 0,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N")] = "auto",
    precision: Annotated[str, typer.Option(help="Precision: auto, fp32 or bf16")] = "auto",
    num_processes: Annotated[
        int, typer.Option(min=1, help="Processes on this machine that share each step, one a GPU")
    ] = 1,
    max_time: Annotated[str, typer.Option(help="Save and stop after this long, such as 90m or 1h30m")] = "",
    download: Annotated[bool, typer.Option("--download", help="First download the dataset if it is missing")] = False,
) -> None:
    """Trains a backbone; the same command resumes an interrupted training."""
    from probebench.harness.training import check_job
    from probebench.harness.training import train as run
    from probebench.plugins.registry import resolve
    from probebench.util import launch

    settings = parse_spec(f"recipe:{recipe}").options if recipe else {}
    given = {"--recipe": recipe, "--seed": seed, "--max-time": max_time}
    given |= {name: word for name, word in (("--device", device), ("--precision", precision)) if word != "auto"}
    given |= {"--split": split} if split != "train" else {}
    given |= {"--num-processes": num_processes} if num_processes > 1 else {}
    words = ["train", backbone, "--dataset", dataset, "--epochs", str(epochs), "--out", str(out)]
    words += [word for name, value in given.items() if value for word in (name, str(value))]
    rank = launch.process_rank()
    images = resolve("dataset", dataset)
    if download:
        from probebench.plugins.downloads import fetch_missing

        fetch_missing([images])
    if num_processes > 1 and rank.count == 1:
        check_job(resolve("backbone", backbone), settings, epochs, num_processes)
        raise typer.Exit(launch.launch(words, num_processes))
    ended = run(
        resolve("backbone", backbone),
        images,
        split=split,
        recipe=settings,
        epochs=epochs,
        out=out,
        seed=seed,
        device=device,
        precision=precision,
        max_seconds=parse_duration(max_time, where="--max-time") if max_time else None,
        on_signal=report_signal if rank.main else lambda _: None,
        report=typer.echo,
    )
    if rank.main:
        _report(ended, backbone, dataset, words)
    if ended.signal is not None:
        raise typer.Exit(128 + ended.signal)


def _report(ended: TrainingResult, backbone: str, dataset: str, words: list[str]) -> None:
    spec = parse_spec(backbone)
    options = {**spec.options, "checkpoint": str(ended.checkpoint)}
    trained = f"{spec.name}:{','.join(f'{name}={write_value(value)}' for name, value in options.items())}"
    typer.echo(f"checkpoint: {ended.checkpoint}")
    typer.echo(f"next:       probebench run --backbone {trained} --dataset {dataset}")
    if ended.stopped_at:
        typer.echo(f"stopped:    {'time is up' if ended.signal is None else 'interrupted'} at {ended.stopped_at}")
        typer.echo(f"resume:     {shlex.join(['probebench', *words])}")


def report_signal(number: int) -> None:
    """Reports a signal that stops the training."""
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    typer.echo(f"{name}: saving after this step; a second one ends the process at once", err=True)
