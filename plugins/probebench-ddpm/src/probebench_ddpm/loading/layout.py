"""The files of a checkpoint, in the layouts that diffusers, its example trainer and probebench write.

::

    pipeline folder   unet/  scheduler/  model_index.json          DDPMPipeline.save_pretrained
    our checkpoint    unet/ (averaged)  unet_raw/  scheduler/      an epoch of `probebench train`
    example trainer   unet/ (last)  unet_ema/                      diffusers' example; parent folder: scheduler/
    U-Net folder      config.json  diffusion_pytorch_model.*       UNet2DModel.save_pretrained, EMAModel.save_pretrained
    flat folder       a U-Net folder with scheduler_config.json    the first checkpoints on the hub
    single file       *.safetensors, *.bin, *.pt, *.pth            config.json in the same folder

In a folder of a DiT, ``transformer/`` takes the place of ``unet/``. The schedule is searched in the folder, in its
``scheduler/``, and in the same two places of the parent folder; so are the other components of a pipeline, such as
``vae/``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from probebench.api import UsageError

if TYPE_CHECKING:
    from probebench_ddpm.options import DDPMOptions, LatentOptions

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
PICKLED_FILE = "diffusion_pytorch_model.bin"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

BUNDLED = Path(__file__).parents[1] / "checkpoints"
"""Folder of the checkpoints that are part of this package."""

AUTOENCODER_FOLDERS = ("vae", "vqvae")
"""Names of an autoencoder's folder in a pipeline."""

_BESIDE = (
    *("config.json", "manifest.json", "model_index.json", "scheduler", "scheduler_config.json"),
    *(*AUTOENCODER_FOLDERS, "text_encoder", "tokenizer"),
)
"""What a network may need besides its weights, in its own folder or in the one above."""


class CheckpointFiles(NamedTuple):
    """The files of one network. Only `weights` must exist; it is None for random weights."""

    config: Path
    weights: Path | None
    scheduler: Path
    manifest: Path
    model_index: Path


def locate(path: Path, weights: str, subfolder: str = "unet") -> CheckpointFiles:
    """Returns the files of the network in a folder or file.

    Args:
        path: A folder in one of the layouts, or a file of weights.
        weights: ``ema``: ``unet_ema/`` if it exists, else ``unet/``. ``raw``: ``unet_raw/``, or the ``unet/`` next to a
            ``unet_ema/``. ``random``: only the config. For a U-Net folder or a single file ``ema`` reads the weights
            that it holds.
        subfolder: Name of the network's folder in a pipeline: ``unet`` or ``transformer``.

    Raises:
        UsageError: There is no network, or none with these weights.
    """
    single = path.is_file()
    folder = path.parent if single else path
    if single and path.suffix not in SUFFIXES:
        raise UsageError(
            f"{path.name} is not a file of weights", where=str(folder), hint=f"a file with suffix {', '.join(SUFFIXES)}"
        )
    network = folder if single or _is_flat(folder, subfolder) else _choose_network(folder, weights, subfolder)
    if network == folder and weights == "raw":
        raise UsageError(
            "weights=raw needs a checkpoint with averaged and last weights, and this one has a single network",
            where=str(path),
            hint="remove weights=raw; the network is then read as it was saved",
        )
    return CheckpointFiles(
        config=network / "config.json",
        weights=None if weights == "random" else path if single else weights_file(network),
        scheduler=_first_existing(folder, "scheduler/scheduler_config.json", "scheduler_config.json"),
        manifest=folder / "manifest.json",
        model_index=_first_existing(folder, "model_index.json"),
    )


def newest_epoch(run: Path) -> Path | None:
    """Returns the newest checkpoint in a training run's folder; None if there is none yet."""
    # Sorted by number: as text, 10000 precedes 9999. A checkpoint inside an epoch follows that of the epoch before it.
    folders = [path for path in run.glob("epoch-*") if path.is_dir()]
    return max(folders, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)], default=None)


def whole_epochs(run: Path) -> dict[int, Path]:
    """Returns the checkpoints of whole epochs in a training run's folder, by epoch."""
    matches = ((re.fullmatch(r"epoch-(\d+)", path.name), path) for path in run.iterdir() if path.is_dir())
    return {int(match[1]): path for match, path in matches if match}


def pipeline_component(path: Path, *names: str) -> Path | None:
    """Returns the folder of another component of the pipeline that a network belongs to.

    Args:
        path: The pipeline's folder, the network's folder, or its file of weights.
        names: Possible names of the component's folder.

    Returns:
        None if there is none.
    """
    folder = path.parent if path.is_file() else path
    candidates = (base / name for base in (folder, folder.parent) for name in names)
    return next((candidate for candidate in candidates if candidate.is_dir()), None)


def weights_file(network: Path) -> Path:
    """Returns the file of weights in the folder of a network.

    Raises:
        UsageError: There is none, or it has another name.
    """
    for name in (WEIGHTS_FILE, PICKLED_FILE):
        if (network / name).is_file():
            return network / name
    others = sorted(path.name for path in network.glob("*") if path.suffix in SUFFIXES)
    if any(re.search(r"-\d+-of-\d+\.", name) for name in others):
        hint = "load it in diffusers and save it in one file: save_pretrained(FOLDER, max_shard_size='100GB')"
    elif others:
        hint = f"name the file itself: checkpoint={network / others[0]}"
    else:
        hint = "checkpoint=FOLDER, a folder that diffusers' save_pretrained has written"
    raise UsageError(f"{WEIGHTS_FILE} is missing", where=str(network), hint=hint)


def _is_flat(folder: Path, subfolder: str) -> bool:
    if any((folder / name).is_dir() for name in (subfolder, f"{subfolder}_ema", f"{subfolder}_raw")):
        return False
    if (folder / "config.json").is_file():
        return True
    kind = "U-Net" if subfolder == "unet" else subfolder
    raise UsageError(
        f"the folder holds no {kind}: neither {subfolder}/ nor config.json",
        where=str(folder),
        hint="checkpoint=FOLDER, a folder that diffusers' save_pretrained or probebench train has written",
    )


def _choose_network(folder: Path, weights: str, subfolder: str) -> Path:
    averaged, standard, last = (folder / name for name in (f"{subfolder}_ema", subfolder, f"{subfolder}_raw"))
    if weights == "raw":
        if last.is_dir() or (averaged.is_dir() and standard.is_dir()):
            return last if last.is_dir() else standard
        raise UsageError(
            f"there are no last weights: neither {subfolder}_raw/ nor a {subfolder}/ next to {subfolder}_ema/",
            where=str(folder),
            hint="remove weights=raw; the only network of the folder is then read as it was saved",
        )
    order = (standard, averaged, last) if weights == "random" else (averaged, standard)
    for network in order:
        if network.is_dir():
            return network
    raise UsageError(f"there are only last weights: {subfolder}_raw/", where=str(folder), hint="weights=raw")


def _first_existing(folder: Path, *names: str) -> Path:
    """Returns the first of these files that exists, in the folder or its parent; else the first candidate."""
    candidates = [base / name for base in (folder, folder.parent) for name in names]
    return next((path for path in candidates if path.is_file()), candidates[0])


def files_of(options: DDPMOptions | LatentOptions) -> tuple[Path, ...] | None:
    """Returns the files and folders that a backbone with these options may read.

    Returns:
        Nothing for bundled checkpoints, which are part of this package; None for those of the hub's cache.
    """
    name = options.checkpoint
    if name.startswith("hub:"):
        return None
    if name in ("", "none", *(path.name for path in BUNDLED.iterdir())):
        return ()
    path = Path(name).expanduser().absolute()
    folder = path if path.is_dir() else path.parent
    beside = (base / part for base in (folder, folder.parent) for part in _BESIDE)
    return (path, *beside)
