"""Encoders of fixed-size vectors and of tables of numbers."""

from __future__ import annotations

from torch import Tensor, nn

from commlearn.models.adapters import FeatureTokenizer, VectorAdapter
from commlearn.models.tokens import ModalityEncoder


class AsItIs(nn.Module):
    """Values go to the adapter unchanged."""

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return values, padding


def linear(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """A vector becomes one token by one linear map."""
    return ModalityEncoder(AsItIs(), VectorAdapter(shape[0], width))


def features(shape: tuple[int, ...], width: int) -> ModalityEncoder:
    """Every number becomes a token of its own."""
    return ModalityEncoder(AsItIs(), FeatureTokenizer(shape[0], width))
