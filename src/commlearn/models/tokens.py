"""Tokens, the output of every encoder and the input of the fusion.

In training, a module sees only the records that have its modality. A batch norm would count an absent record
as one of zeros, so absent records are left out of a module's input, and zeros are put back in their places
in its output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from commlearn.batch import Modality


@dataclass(frozen=True)
class Tokens(Modality):
    """A modality as one sequence of vectors of the same width per record, (batch, length, width).

    `padding`, (batch, length), is True where nothing may attend: everywhere in a record that lacks the
    modality. A view may hold tokens in place of the values they were made from; they are not encoded again.
    """

    textures: Tensor | None = None  # (batch, patterns): measured on a picture, in addition to its tokens


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
        self.encoder, self.adapter, self.textures = encoder, adapter, textures

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
    return (tokens.values * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)


def absent_as_padding(values: Tensor, padding: Tensor | None, present: Tensor | None) -> Tensor | None:
    """Return the padding, extended so that all tokens of an absent modality are padding."""
    if present is None:
        return padding
    absent = ~present.unsqueeze(1).expand(values.shape[:2])  # (batch, length)
    return absent if padding is None else padding | absent


Change = Callable[[Tensor], Tensor]


@contextmanager
def present_rows(module: nn.Module, present: Tensor) -> Iterator[tuple[Change, Change]]:
    """Yield functions that pick the present rows for a module and put its outputs back in their places.

    Fewer than two rows have no statistics: a module then sees one row twice, or zeros if there is none, and
    its running moments do not change. Its parameters thus always get a gradient, which other ranks wait for.

    Example:
        >>> import torch
        >>> with present_rows(nn.ReLU(), torch.tensor([True, False, True])) as (pick, put_back):
        ...     put_back(pick(torch.tensor([1.0, 2.0, 3.0])))
        tensor([1., 0., 3.])
    """
    places = present.nonzero()[:, 0]

    def pick(rows: Tensor) -> Tensor:  # (present, ...), but at least two
        if not len(places):
            return rows.new_zeros(2, *rows.shape[1:])
        return rows[places if len(places) > 1 else places.repeat(2)]

    def put_back(made: Tensor) -> Tensor:  # (rows, ...), with zeros for the absent ones
        return made.new_zeros(len(present), *made.shape[1:]).index_copy(0, places, made[: len(places)])

    with nullcontext() if len(places) > 1 else frozen_moments(module):
        yield pick, put_back


def encode_present(encoder: nn.Module, modality: Modality) -> Tokens:
    """Return the tokens of a modality; in training, the encoder sees only the records that have it."""
    if modality.present is None or not encoder.training:
        return encoder(modality)
    with present_rows(encoder, modality.present) as (pick, put_back):
        tokens = encoder(replace(modality.apply(pick), present=None)).apply(put_back)
    padding = absent_as_padding(tokens.values, tokens.padding, modality.present)
    return replace(tokens, padding=padding, present=modality.present)


def project_present(head: nn.Module, vectors: Tensor, present: Tensor | None) -> Tensor:
    """Return a head's output for the vectors of records that are present, and zeros for the others.

    The vectors are ordered view by view, (views * records, width).
    """
    if present is None:
        return head(vectors)
    with present_rows(head, present.repeat(len(vectors) // len(present))) as (pick, put_back):
        return put_back(head(pick(vectors)))


@contextmanager
def frozen_moments(module: nn.Module) -> Iterator[None]:
    """Keep the running moments inside a module from moving within this context.

    Batch norms still use the statistics of their batch.
    """
    trackers: list[Any] = [part for part in module.modules() if getattr(part, "track_running_stats", False)]
    for part in trackers:
        part.track_running_stats = False
    try:
        yield
    finally:
        for part in trackers:
            part.track_running_stats = True
