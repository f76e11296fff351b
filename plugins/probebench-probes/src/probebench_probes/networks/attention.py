"""`attention`: transformer blocks over the positions of the map, or over tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from probebench_probes.networks.probe import NetworkProbe
from probebench_probes.options import AttentionOptions

if TYPE_CHECKING:
    from torch import Tensor


class AttentionProbe(NetworkProbe[AttentionOptions]):
    """Transformer blocks over the positions of the map, or over tokens."""

    name = "attention"

    def network(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """Returns an `Attention`."""
        options = self._options
        return Attention(shape, options.width, options.heads, options.blocks, classes)


class Attention(nn.Module):
    """Blocks of a vision transformer over the positions of a map, with a classifier on the class token.

    Layer normalisation over the whole map, a 1 x 1 convolution to the width of the blocks, positions as tokens after a
    learned class token that starts at zero, the blocks, and a fully connected layer on the class token. There is no
    position embedding, and no normalisation after the last block.

    Source: diffssl, ``ssl_diff/attention_fusion.py`` and ``attention_head.py``.

    Args:
        shape: Shape of one feature, ``(C, H, W)``.
        width: Width of a token.
        heads: Number of attention heads.
        blocks: Number of blocks.
        classes: Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, heads: int, blocks: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape)
        self.tokens = nn.Conv2d(shape[0], width, 1)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.head = nn.Linear(width, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Returns the logits ``(B, classes)`` of maps ``(B, C, H, W)``."""
        tokens = self.tokens(self.norm(maps)).flatten(2).mT
        with_cls = torch.cat([self.cls.expand(len(maps), -1, -1), tokens], dim=1)
        logits: Tensor = self.head(self.blocks(with_cls)[:, 0])
        return logits


class Block(nn.Module):
    """Self-attention and an MLP of four times the width, both pre-norm and with a residual connection.

    Queries, keys and values have no bias. Attention is written out, because fused kernels add up gradients in another
    order from run to run.

    Source: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021.

    Args:
        width: Width of a token.
        heads: Number of attention heads; the width is divisible by it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns tokens ``(B, N, width)`` of the same shape."""
        tokens = tokens + self._attend(self.norm1(tokens))
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result

    def _attend(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        shares = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        result: Tensor = self.out((shares @ value).transpose(1, 2).flatten(2))
        return result
