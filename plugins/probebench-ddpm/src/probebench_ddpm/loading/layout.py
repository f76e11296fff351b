"""Where a checkpoint's files lie, in the layouts that diffusers, its example trainer and probebench write.

::

    pipeline folder   unet/  scheduler/  model_index.json          DDPMPipeline.save_pretrained
    ours              unet/ (averaged)  unet_raw/  scheduler/      an epoch of `probebench train`
    trainer's         unet/ (last)  unet_ema/                      diffusers' example, whose folder above has scheduler/
    U-Net folder      config.json  diffusion_pytorch_model.*       UNet2DModel.save_pretrained, EMAModel.save_pretrained
    flat folder       a U-Net folder with scheduler_config.json    the first ones on the hub
    single file       *.safetensors, *.bin, *.pt, *.pth            with config.json beside it

In a folder of a DiT, ``transformer/`` stands for ``unet/``. The schedule is looked for in the folder itself and in
``scheduler/``, there and in the folder above; so are the other parts of a pipeline, such as ``vae/``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from probebench.api import UsageError

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
PICKLED_FILE = "diffusion_pytorch_model.bin"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


class Parts(NamedTuple):
    """The files of one network. They need not exist, but for `weights`, which is None when none is asked for."""

    config: Path
    weights: Path | None
    scheduler: Path
    manifest: Path
    model_index: Path


def locate(place: Path, wanted: str, stem: str = "unet") -> Parts:
    """The files behind a folder or file.

    Args:
        place: A folder in one of the layouts, or a file of weights.
        wanted: ``ema``: ``unet_ema/`` where it is there, else ``unet/``. ``raw``: ``unet_raw/``, or the ``unet/`` that
            lies beside a ``unet_ema/``. ``random``: the config alone. A U-Net folder or file is read as it is, as
            ``ema``.
        stem: What the network's folder is called in a pipeline: ``unet`` or ``transformer``.

    Raises:
        UsageError: There is no network, or not the one that is wanted.
    """
    single = place.is_file()
    folder = place.parent if single else place
    if single and place.suffix not in SUFFIXES:
        raise UsageError(f"{place.name} is no file of weights", where=str(folder), hint=" or ".join(SUFFIXES))
    network = folder if single or _is_flat(folder, stem) else _choose(folder, wanted, stem)
    if network == folder and wanted == "raw":
        raise UsageError(
            "nothing tells whether these are averaged or last weights",
            where=str(place),
            hint="leave weights=raw out: the folder of a network or a single file is read as it is",
        )
    return Parts(
        config=network / "config.json",
        weights=None if wanted == "random" else place if single else weights_file(network),
        scheduler=_beside(folder, "scheduler/scheduler_config.json", "scheduler_config.json"),
        manifest=folder / "manifest.json",
        model_index=_beside(folder, "model_index.json"),
    )


def newest_epoch(run: Path) -> Path | None:
    """The newest checkpoint of a training run's folder; None when there is none yet."""
    # By number: as text, 10000 comes before 9999. What is saved in an epoch comes after the one before it.
    found = [path for path in run.glob("epoch-*") if path.is_dir()]
    return max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)], default=None)


def whole_epochs(run: Path) -> dict[int, Path]:
    """The checkpoints of a training run's folder, by epochs; what a stop saved inside an epoch is none of them."""
    found = ((re.fullmatch(r"epoch-(\d+)", path.name), path) for path in run.iterdir() if path.is_dir())
    return {int(match[1]): path for match, path in found if match}


def part_of_pipeline(place: Path, *names: str) -> Path | None:
    """The folder of another part of the pipeline that a network belongs to.

    Args:
        place: The pipeline's folder, that of the network, or its file of weights.
        names: What the part may be called.

    Returns:
        None where there is none.
    """
    folder = place.parent if place.is_file() else place
    places = (base / name for base in (folder, folder.parent) for name in names)
    return next((path for path in places if path.is_dir()), None)


def _is_flat(folder: Path, stem: str) -> bool:
    if any((folder / name).is_dir() for name in (stem, f"{stem}_ema", f"{stem}_raw")):
        return False
    if (folder / "config.json").is_file():
        return True
    kind = "U-Net" if stem == "unet" else stem
    raise UsageError(
        f"there is no {kind}: neither {stem}/ nor config.json",
        where=str(folder),
        hint="a folder as diffusers' save_pretrained writes it",
    )


def _choose(folder: Path, wanted: str, stem: str) -> Path:
    averaged, standard, last = (folder / name for name in (f"{stem}_ema", stem, f"{stem}_raw"))
    if wanted == "raw":
        if last.is_dir() or (averaged.is_dir() and standard.is_dir()):
            return last if last.is_dir() else standard
        raise UsageError(
            f"there are no last weights: neither {stem}_raw/ nor a {stem}/ beside {stem}_ema/",
            where=str(folder),
            hint="leave weights=raw out: the only network that is there is then read as it is",
        )
    order = (standard, averaged, last) if wanted == "random" else (averaged, standard)
    for network in order:
        if network.is_dir():
            return network
    raise UsageError(f"there are only last weights: {stem}_raw/", where=str(folder), hint="weights=raw")


def weights_file(network: Path) -> Path:
    """The weights in the folder of a network.

    Raises:
        UsageError: There are none, or they have another name.
    """
    for name in (WEIGHTS_FILE, PICKLED_FILE):
        if (network / name).is_file():
            return network / name
    others = sorted(path.name for path in network.glob("*") if path.suffix in SUFFIXES)
    if any(re.search(r"-\d+-of-\d+\.", name) for name in others):
        hint = "save it again with save_pretrained(max_shard_size='100GB'): weights in several files are not read"
    elif others:
        hint = f"name the file itself: checkpoint={network / others[0]}"
    else:
        hint = "a folder as diffusers' save_pretrained writes it"
    raise UsageError(f"{WEIGHTS_FILE} is missing", where=str(network), hint=hint)


def _beside(folder: Path, *names: str) -> Path:
    """The first of the files that is there, in the folder or the one above; the first name where none is."""
    places = [base / name for base in (folder, folder.parent) for name in names]
    return next((path for path in places if path.is_file()), places[0])
