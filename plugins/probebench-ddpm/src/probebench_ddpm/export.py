"""Exports a small checkpoint to share: averaged weights in fp16, manifest, training command and loss curve.

::

    python -m probebench_ddpm.export runs/mine/epoch-0040 exported
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from probebench.api import ProbebenchError, UsageError
from probebench_ddpm.loading.layout import WEIGHTS_FILE
from probebench_ddpm.options import DDPMRecipe

if TYPE_CHECKING:
    from collections.abc import Sequence


def export(checkpoint: Path, out: Path) -> None:
    """Writes a checkpoint in the layout that `ddpm:checkpoint=...` and diffusers read.

    fp16 halves the file. Its rounding error is far below the noise that is added before features are read.

    Args:
        checkpoint: ``epoch-NNNN`` folder of a training run.
        out: Folder to create.

    Raises:
        UsageError: `checkpoint` is not a checkpoint of a whole epoch, or `out` exists.
    """
    curve = checkpoint.parent / "loss.csv"
    if not (checkpoint / "manifest.json").is_file() or not curve.is_file():
        raise UsageError(
            "the folder is not a checkpoint of a training run",
            where=str(checkpoint),
            hint="python -m probebench_ddpm.export RUN/epoch-NNNN OUT",
        )
    if "-step-" in checkpoint.name:
        # The command in the manifest trains whole epochs, so it would give another network.
        raise UsageError(
            "the checkpoint was saved inside an epoch",
            where=str(checkpoint),
            hint="run the same probebench train command again, and export the epoch-NNNN folder it saves next",
        )
    if out.exists():
        raise UsageError(
            "the output folder exists already",
            where=str(out),
            hint=f"python -m probebench_ddpm.export {checkpoint} {out}-2",
        )
    manifest = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
    (out / "unet").mkdir(parents=True)
    weights = load_file(checkpoint / "unet" / WEIGHTS_FILE)
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items()}
    save_file(halves, out / "unet" / WEIGHTS_FILE, metadata={"format": "pt"})
    shutil.copy(checkpoint / "unet" / "config.json", out / "unet")
    shutil.copytree(checkpoint / "scheduler", out / "scheduler")
    shutil.copy(checkpoint / "model_index.json", out)
    header, *rows = curve.read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows if int(row.split(",")[0]) <= manifest["epoch"]]
    (out / "loss.csv").write_text("\n".join([header, *kept, ""]), encoding="utf-8")
    document = {**manifest, "weights": {"unet": "ema, fp16"}, "command": training_command(manifest)}
    (out / "manifest.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def training_command(manifest: dict[str, Any]) -> str:
    """Returns the command line that trains the checkpoint again.

    Args:
        manifest: Content of the checkpoint's ``manifest.json``.
    """
    network = manifest["network"]
    attention = "true" if network["add_attention"] else "false"
    widths = "+".join(map(str, network["block_out_channels"]))
    standard = DDPMRecipe().model_dump(mode="json")
    recipe = [f"{name}={value}" for name, value in manifest["recipe"].items() if value != standard[name]]
    scale = manifest["input_range"][1]
    scaled = "" if scale == 1 else f",scale={scale:g}"
    words = [
        f"probebench train ddpm:attention={attention},widths={widths}{scaled}",
        f"--dataset {manifest['dataset']['name']}",
        f"--epochs {manifest['epoch']}",
        f"--seed {manifest['seed']}",
        f"--precision {manifest['precision']}",
        *([f"--recipe {','.join(recipe)}"] if recipe else []),
        "--out runs/again",
    ]
    return " ".join(words)


def main(arguments: Sequence[str]) -> int:
    """Runs `export` from the command line and returns the exit code."""
    if len(arguments) != 2:
        print("usage: python -m probebench_ddpm.export CHECKPOINT OUT", file=sys.stderr)  # noqa: T201
        return 2
    try:
        export(Path(arguments[0]), Path(arguments[1]))
    except ProbebenchError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
