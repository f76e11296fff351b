"""`probebench data download` and `probebench data show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probebench.cli.output import print_json, print_table, quiet_stdout

if TYPE_CHECKING:
    from probebench.extraction.dataset import Images
    from probebench.plugins.registry import Component

app = typer.Typer(help="Download datasets, and show what they contain", no_args_is_help=True)

Spec = Annotated[str, typer.Argument(metavar="SPEC", help="Dataset, such as cifar10 or stl10:fold=0")]


@app.command("download", help="Download the missing files of a dataset, and verify all checksums")
def download(dataset: Spec) -> None:
    """Downloads the missing files of a dataset, and verifies all checksums."""
    from probebench.plugins.downloads import fetch
    from probebench.plugins.registry import resolve

    component = resolve("dataset", dataset)
    fetch(component)
    typer.echo(f"{component.title} is complete, and all checksums are correct")


@app.command("show", help="Show a dataset: images by class and split, fingerprints, problems, a contact sheet")
def show(
    dataset: Spec,
    out: Annotated[
        Path | None, typer.Option(help="File of the contact sheet; by default NAME-sheet.png", show_default=False)
    ] = None,
    sheet: Annotated[
        bool, typer.Option("--sheet/--no-sheet", help="Write a contact sheet of train images of every class")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document")] = False,
) -> None:
    """Shows a dataset: images by class and split, size, fingerprints, problems, and a contact sheet."""
    from probebench.extraction.dataset import open_images
    from probebench.plugins.registry import resolve

    component = resolve("dataset", dataset)
    with quiet_stdout(as_json):
        images = open_images(component)
        document = _document(component, images)
        if sheet:
            path = out or Path(f"{component.alias or component.entry.spec.name}-sheet.png".replace("/", "-"))
            _write_sheet(images, path)
            document["sheet"] = str(path)
    if as_json:
        print_json(document)
    else:
        _print(document)


def _document(component: Component, images: Images) -> dict[str, Any]:
    import torch

    classes = images.dataset.classes
    return {
        "title": component.title,
        "qualified": component.entry.qualified,
        "version": component.entry.spec.version,
        "classes": list(classes),
        "image_size": list(images.dataset.image_size),
        "metric": images.dataset.metric,
        "splits": {
            name: {
                "images": len(labels),
                "per_class": torch.bincount(labels, minlength=len(classes)).tolist(),
                "fingerprint": images.description.fingerprints[name],
            }
            for name, labels in images.labels.items()
        },
        "unlabeled": {name: len(images.dataset.split(name)) for name in images.dataset.unlabeled},
        "warnings": list(images.description.warnings),
        "sheet": None,
    }


def _write_sheet(images: Images, path: Path) -> None:
    from probebench.board.figures.contact_sheet import contact_sheet, write_png

    write_png(contact_sheet(images.splits["train"], images.labels["train"], images.dataset.classes), path)


def _print(document: dict[str, Any]) -> None:
    height, width = document["image_size"]
    splits: dict[str, Any] = document["splits"]
    typer.echo(f"{document['title']}: {len(document['classes'])} classes, images of {height}x{width} pixels\n")
    counts = [
        (name, *(f"{split['per_class'][label]:,}" for split in splits.values()))
        for label, name in enumerate(document["classes"])
    ]
    total = ("total", *(f"{split['images']:,}" for split in splits.values()))
    print_table(("class", *splits), [*counts, total])
    for name, count in document["unlabeled"].items():
        typer.echo(f"\n{name}: {count:,} images without labels, for training generative backbones")
    typer.echo()
    print_table(("split", "fingerprint"), [(name, split["fingerprint"]) for name, split in splits.items()])
    for warning in document["warnings"]:
        typer.echo(f"\nwarning: {warning}")
    if document["sheet"]:
        typer.echo(f"\ncontact sheet: {document['sheet']}")
