"""A denoising network together with its conditions: its inputs besides the noised image and the step.

A backbone reads images only. A condition is therefore the same for all images, and carries as little information as
possible:

- a U-Net with a table of classes gets the mean of the table. Training may split what all classes have in common
  between the table and the embedding of the step in any way; only the mean does not depend on that split, and nothing
  in a checkpoint says whether one of the classes is a null class;
- a DiT gets its null class, the last one of its table (Peebles and Xie 2022, section 3);
- a text-to-image network gets the empty text, see `text_encoder`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from diffusers import DiTTransformer2DModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers import ModelMixin
    from torch import Tensor


@dataclass(frozen=True)
class Denoiser:
    """A denoising network of diffusers with its conditions.

    Attributes:
        module: The network.
        conditions: Its further inputs by argument name, each a tensor with one row that is repeated for every image.
    """

    module: ModelMixin
    conditions: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, noised: Tensor, t: int) -> Tensor:
        """Returns the network's prediction.

        Args:
            noised: ``(B, C, H, W)``, in the network's dtype and on its device.
            t: Step of the training schedule.
        """
        count, device = len(noised), noised.device
        conditions = {
            name: row.to(device, noised.dtype if row.is_floating_point() else row.dtype).expand(count, *row.shape[1:])
            for name, row in self.conditions.items()
        }
        # A U-Net repeats a single step for all images; a DiT does not.
        step = torch.full((count,), t, device=device) if isinstance(self.module, DiTTransformer2DModel) else t
        predicted: Tensor = self.module(noised, step, **conditions).sample
        return predicted

    def feature_map(self, output: Any) -> Tensor:  # noqa: ANN401 - the output of any module
        """Returns the feature map ``(B, C, H, W)`` in the output of a block or layer.

        Down blocks return it together with their skip connections, and layers of a transformer return tokens, row by
        row.
        """
        features: Tensor = output[0] if isinstance(output, tuple) else output
        if not isinstance(self.module, DiTTransformer2DModel):
            return features
        side = self.module.config.sample_size // self.module.config.patch_size
        return features.transpose(1, 2).reshape(len(features), -1, side, side)

    def architecture(self) -> str:
        """Returns a text that is equal for networks of the same class, config and conditions."""
        config = sorted((name, str(value)) for name, value in self.module.config.items() if not name.startswith("_"))
        shapes = {name: tuple(row.shape) for name, row in self.conditions.items()}
        return f"{type(self.module).__name__} {config} {shapes}"

    def on_meta(self) -> Denoiser:
        """Returns the same network on the meta device, which allocates no memory."""
        with torch.device("meta"):
            module = type(self.module).from_config(self.module.config).eval()
        return Denoiser(module, {name: row.to("meta") for name, row in self.conditions.items()})


def class_condition(network: ModelMixin) -> dict[str, Tensor]:
    """Returns the class condition of a network: the null class of a DiT, the mean class of a U-Net.

    Args:
        network: The network with its weights. A U-Net's table of classes is replaced by its mean in place.

    Returns:
        A part of `Denoiser.conditions`; empty for a network without classes.
    """
    if isinstance(network, DiTTransformer2DModel):
        return {"class_labels": torch.tensor([network.config.num_embeds_ada_norm])}
    if network.config.num_class_embeds is None:
        return {}
    with torch.no_grad():
        table = network.class_embedding.weight
        table.copy_(table.mean(0, keepdim=True).expand_as(table))
    return {"class_labels": torch.tensor([0])}
