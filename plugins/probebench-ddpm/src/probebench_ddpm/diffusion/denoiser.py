"""A network that predicts noise, with all that it is told besides the noised image and the step.

A backbone is to see an image and nothing else. What a network wants to know beyond it is the same for every image, and
says as little as possible:

- a U-Net with a table of classes: the mean of the table. Only that does not depend on how training has split what all
  classes share between the table and the embedding of the step, and nothing in a checkpoint says which of its classes
  would stand for none;
- a DiT: the class that it was trained with where it was to know none, the last one of its table (Peebles and Xie 2022,
  section 3);
- a network of text and image: the empty text, see `prompt`.
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
    """A network of diffusers.

    Attributes:
        module: The network itself.
        told: What it is told of every image, one row each, by the names of its arguments.
    """

    module: ModelMixin
    told: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, noised: Tensor, t: int) -> Tensor:
        """What the network predicts.

        Args:
            noised: ``(B, C, H, W)``, of the network's type and on its device.
            t: Step of the training schedule.
        """
        count, device = len(noised), noised.device
        told = {
            name: row.to(device, noised.dtype if row.is_floating_point() else row.dtype).expand(count, *row.shape[1:])
            for name, row in self.told.items()
        }
        # A U-Net makes a row for each image of one step by itself.
        step = torch.full((count,), t, device=device) if isinstance(self.module, DiTTransformer2DModel) else t
        predicted: Tensor = self.module(noised, step, **told).sample
        return predicted

    def feature_map(self, output: Any) -> Tensor:  # noqa: ANN401 - what a hook is given
        """The feature map ``(B, C, H, W)`` in a block's output.

        Down blocks return it with their skip connections, and layers of a transformer return tokens, row by row.
        """
        found: Tensor = output[0] if isinstance(output, tuple) else output
        if not isinstance(self.module, DiTTransformer2DModel):
            return found
        side = self.module.config.sample_size // self.module.config.patch_size
        return found.transpose(1, 2).reshape(len(found), -1, side, side)

    def on_meta(self) -> Denoiser:
        """The same network without its memory."""
        with torch.device("meta"):
            module = type(self.module).from_config(self.module.config).eval()
        return Denoiser(module, {name: row.to("meta") for name, row in self.told.items()})


def classless(network: ModelMixin) -> dict[str, Tensor]:
    """What a network of classes is told so that it sees an image of none in particular.

    Args:
        network: With all its weights. A U-Net's table of classes is averaged in place.

    Returns:
        Part of `Denoiser.told`; empty for a network without classes.
    """
    if isinstance(network, DiTTransformer2DModel):
        return {"class_labels": torch.tensor([network.config.num_embeds_ada_norm])}
    if network.config.num_class_embeds is None:
        return {}
    with torch.no_grad():
        table = network.class_embedding.weight
        table.copy_(table.mean(0, keepdim=True).expand_as(table))
    return {"class_labels": torch.tensor([0])}
