"""Tokens, the output of every encoder and the input of the fusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor, nn

from commlearn.batch import Modality


@dataclass(frozen=True)
class Tokens(Modality):
    """A modality as one sequence of vectors of the same width per record, (batch, length, width).

    `padding`, (batch, length), is True where nothing may attend: everywhere in a record that lacks the
    modality. A view may hold tokens in place of the values they were made from; they are not encoded again.
    """

    textures: Tensor | None = None  # (batch, patterns): measured on a picture, in addition to its tokens

    def apply(self, change: Callable[[Tensor], Tensor]) -> Self:
        textures = None if self.textures is None else change(self.textures)
        return replace(super().apply(change), textures=textures)


class TokenEncoder(nn.Module):
    """Maps a `Modality` to `Tokens` of the fusion's width; any other module reads plain tensors."""


class ModalityEncoder(TokenEncoder):
    """An encoder and its adapter: one modality in, tokens of the fusion's width out.

    Args:
        encoder: maps (values, padding) to features of its own shape.
        adapter: maps these features to tokens, (batch, length, width).
        textures: maps values to the textures stored with the tokens, (batch, patterns).
    """

    def __init__(self, encoder: nn.Module, adapter: nn.Module, textures: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.adapter = adapter
        self.textures = textures

    def forward(self, modality: Modality) -> Tokens:
        features, padding = self.encoder(modality.values, modality.padding)
        values = self.adapter(features)  # (batch, length, width)
        padding = absent_as_padding(values, padding, modality.present)
        if padding is not None:  # a weight of 0 times NaN is NaN, so values under padding are zeroed
            values = values.masked_fill(padding[..., None], 0.0)
        textures = None if self.textures is None else self.textures(modality.values)
        return Tokens(values, padding, modality.present, textures)


def tokens_of(parts: Mapping[str, Tensor | Tokens]) -> dict[str, Tokens]:
    """Wrap plain tensors as tokens, (batch, length, width); a vector, (batch, width), becomes one token."""
    return {
        name: part if isinstance(part, Tokens) else Tokens(part if part.ndim == 3 else part[:, None])
        for name, part in parts.items()
    }


def pool(tokens: Tokens) -> Tensor:
    """Return the mean of the tokens that are not padding, (batch, width); zeros if there are none.

    Example:
        >>> import torch
        >>> pool(Tokens(torch.tensor([[[2.0], [4.0]]]), torch.tensor([[False, True]])))
        tensor([[2.]])
    """
    if tokens.padding is None:
        return tokens.values.mean(dim=1)
    real = (~tokens.padding).unsqueeze(-1).to(tokens.values.dtype)  # (batch, length, 1)
    total = (tokens.values * real).sum(dim=1)
    return total / real.sum(dim=1).clamp(min=1)


def absent_as_padding(values: Tensor, padding: Tensor | None, present: Tensor | None) -> Tensor | None:
    """Return the padding, extended so that all tokens of an absent modality are padding."""
    if present is None:
        return padding
    absent = ~present.unsqueeze(1).expand(values.shape[:2])  # (batch, length)
    return absent if padding is None else padding | absent
