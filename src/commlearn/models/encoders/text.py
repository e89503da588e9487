"""Encoder of text: learned token vectors and a small transformer; every token goes on to the fusion."""

from __future__ import annotations

from torch import Tensor, nn

from commlearn.models.adapters import SequenceAdapter
from commlearn.models.encoders.sequence import SequenceTransformer
from commlearn.models.tokens import ModalityEncoder


class TokenStem(nn.Module):
    """Token ids to learned vectors; whatever lies under padding reads as id 0, a vector of zeros."""

    def __init__(self, ids: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, features, padding_idx=0)

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if padding is not None:
            values = values.masked_fill(padding, 0)
        return self.embedding(values), padding  # (batch, length, features)


def text(
    shape: tuple[int, ...], width: int, hidden: int = 192, layers: int = 2, heads: int = 4
) -> ModalityEncoder:
    """Token vectors, fixed sin-cos positions and a pre-norm transformer; one token for each of the text's."""
    stem = TokenStem(shape[0], hidden)
    return ModalityEncoder(
        SequenceTransformer(stem, hidden, layers, heads, positions=True), SequenceAdapter(hidden, width)
    )
