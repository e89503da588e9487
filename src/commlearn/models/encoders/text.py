"""Encoder of text: learned token vectors and a small transformer; every token goes on to the fusion."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from commlearn.models.adapters import SequenceAdapter, sincos_positions
from commlearn.models.fusion import FusionLayer
from commlearn.models.tokens import ModalityEncoder, Tokens

__all__ = ["text"]


class TextEncoder(nn.Module):
    """Token ids to vectors that know their neighbours.

    Padding is never attended: neither what lies under it nor how much of it there is changes a
    token's vector.

    Args:
        ids: how many different tokens there are; 0 is padding.
        features: width of a token's vector.
        layers: pre-norm transformer layers.
        heads: attention heads; they divide the width.
    """

    def __init__(self, ids: int, features: int, layers: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, features, padding_idx=0)
        self.layers = nn.ModuleList(FusionLayer(features, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(features)

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if padding is not None:
            values = values.masked_fill(padding, 0)  # ids under padding may be anything
        rows = self.embedding(values)  # (batch, length, features)
        rows = rows + sincos_positions(1, rows.shape[1], 2 * rows.shape[2])[:, rows.shape[2] :].to(rows)
        attended = None if padding is None else _never_nothing(padding)
        for layer in self.layers:
            rows = layer(Tokens(rows, attended))
        return self.norm(rows), padding


def text(
    shape: tuple[int, ...], width: int, features: int = 192, layers: int = 2, heads: int = 4
) -> ModalityEncoder:
    """Token embedding, fixed sin-cos positions and a pre-norm transformer; one token a word."""
    return ModalityEncoder(TextEncoder(shape[0], features, layers, heads), SequenceAdapter(features, width))


def _never_nothing(padding: Tensor) -> Tensor:
    """Attention over nothing is not a number: where all is padding, the first place is attended."""
    nothing = padding.all(dim=1, keepdim=True)  # (batch, 1)
    return torch.cat([padding[:, :1] & ~nothing, padding[:, 1:]], dim=1)
