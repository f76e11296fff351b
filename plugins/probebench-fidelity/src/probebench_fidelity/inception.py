"""The backbone `inception`: the network of FID, as in torch-fidelity."""

from __future__ import annotations

import hashlib
import io
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch_fidelity import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from probebench.api import Backbone, Batch, Point, Precision, Tap, pool_map
from probebench_fidelity import inception_weights
from probebench_fidelity.options import LAST_POOLED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from probebench_fidelity.options import InceptionOptions

_SIZE = FeatureExtractorInceptionV3.INPUT_IMAGE_SIZE

_TAPS = {
    "64": (64, 0.108),
    "192": (192, 0.235),
    "768": (768, 0.824),
    LAST_POOLED: (2048, 1.0),
    "logits_unbiased": (1008, 1.0),
    "logits": (1008, 1.0),
}
"""Width, and measured share of the cost: the network always sees 299 x 299 pixels, whatever the size of an image."""


class _Network(FeatureExtractorInceptionV3):  # type: ignore[misc] # it has no types
    """torch-fidelity's network without weights: its own constructor unpickles any file, or downloads one."""

    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        with torch.device("meta"):  # samples no initial weights, so that the global random state does not change
            super().__init__("inception", [LAST_POOLED], feature_extractor_weights_path=empty)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:  # noqa: ANN401
        return super().load_state_dict(state_dict, strict=strict and bool(state_dict), assign=assign)


class Inception(Backbone):
    """The InceptionV3 of 2015, with weights converted from TensorFlow and the resizing of TensorFlow 1.

    The weights are loaded when the first feature is computed, so that `probebench show` works without them.
    """

    input_range = (-1.0, 1.0)
    batch_size = 32
    parameters = 23_850_960

    def __init__(self, options: InceptionOptions) -> None:
        self._options = options
        self._device, self._bf16 = torch.device("cpu"), False

    @cached_property
    def _net(self) -> _Network:
        state = inception_weights.load(self._options) if self._options.pretrained else None
        network = _Network()
        network.to_empty(device="cpu")
        if state is None:
            inception_weights.initialise_(network, self._options.init_seed)
        else:
            network.load_state_dict(state)
        network.requires_grad_(False).eval()
        return network

    def taps(self, image_size: tuple[int, int]) -> list[Tap]:  # noqa: ARG002 - every image is resized
        """Returns the four blocks on whose means FID is computed in the literature, and two forms of the logits."""
        return [
            Tap(name, "vector", (width,), cost, default=name == LAST_POOLED) for name, (width, cost) in _TAPS.items()
        ]

    def move_to(self, device: str, precision: Precision) -> None:
        """Moves the network to a device. In bf16, images are still resized in fp32."""
        self._device, self._bf16 = torch.device(device), precision == "bf16"
        self._net.to(self._device)

    def prepare(self, images: Tensor) -> Tensor:
        """Returns the images as they enter the first layer; the network does the same itself."""
        pixels = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(_SIZE, _SIZE), align_corners=False)
        prepared: Tensor = (pixels - 128) / 128
        return prepared

    def extract(self, batch: Batch, points: Sequence[Point], *, seed: int) -> dict[Point, Tensor]:  # noqa: ARG002
        """Returns the features of one pass, as deep as the points need it. The seed is not used: nothing is random."""
        taps = list(dict.fromkeys(point.tap for point in points))
        self._net.features_list = taps
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            features = dict(zip(taps, self._net(batch.images.to(self._device)), strict=True))
        return {point: pool_map(features[point.tap].float(), "vector", point.pool) for point in points}

    @cached_property
    def _sum(self) -> str:
        total = hashlib.sha256(b"torch-fidelity's InceptionV3")
        for name, tensor in self._net.state_dict().items():
            total.update(f"{name} {tuple(tensor.shape)}".encode())
            total.update(tensor.contiguous().numpy().tobytes())
        return total.hexdigest()

    def fingerprint(self) -> str:
        """Returns a SHA-256 over the loaded weights."""
        return self._sum
