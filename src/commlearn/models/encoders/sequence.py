"""Encoders for sequences of any length; neither the content nor the amount of padding changes a token.

All expect padding at the end, where batching puts it. NaN means "not observed" and counts as 0, which is
the mean of standardised values.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.errors import ConfigurationError
from commlearn.models.adapters import SequenceAdapter, sincos
from commlearn.models.encoders.tabular import check_hidden
from commlearn.models.fusion import FusionLayer
from commlearn.models.tokens import ModalityEncoder, Tokens

KERNEL = 5  # steps that each convolution of the stem sees


class StridedStem(nn.Module):
    """Convolutions of stride 2, or one of stride 1: `length` steps become ceil(length / stride).

    Padding is set to zero before every convolution, and so is everything beyond the end: a step sees the
    same wherever the batch ends.
    """

    def __init__(self, channels: int, features: int, stride: int) -> None:
        super().__init__()
        steps = {1: [1], 2: [2], 4: [2, 2], 8: [2, 2, 2]}.get(stride)
        if steps is None:
            raise ConfigurationError(f"A series encoder's stride is {stride}; give 1, 2, 4 or 8.")
        self.steps = steps
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, features, KERNEL, step, padding=KERNEL // 2)
            for before, step in zip([channels, *[features] * (len(steps) - 1)], steps, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in steps)

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for convolution, norm, step in zip(self.convolutions, self.norms, self.steps, strict=True):
            values = convolution(blank(values, padding).transpose(1, 2)).transpose(1, 2)
            values = F.gelu(norm(values))  # (batch, ceil(length / step), features)
            if padding is not None:  # a step is padding if the input step at its centre is
                padding = padding[:, ::step]
        return values, padding


class StepwiseStem(nn.Module):
    """A linear map of each step separately, that is, a convolution with a kernel of 1."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, features)

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.project(blank(values, padding)), padding  # (batch, length, features)


class SequenceTransformer(nn.Module):
    """A stem, then pre-norm transformer layers over its steps.

    `positions` adds a fixed sin-cos code of its position to each step. `feed_forward` is the width inside the
    MLPs, by default four times the features.
    """

    def __init__(
        self,
        stem: nn.Module,
        features: int,
        layers: int,
        heads: int,
        positions: bool,
        feed_forward: int | None = None,
    ) -> None:
        super().__init__()
        if features % heads:
            raise ConfigurationError(f"A sequence encoder's {heads} heads must divide hidden, {features}.")
        self.stem, self.positions = stem, positions
        if feed_forward is not None and feed_forward < 1:
            raise ConfigurationError(f"A sequence encoder's feed_forward is {feed_forward}; give 1 or more.")
        self.layers = nn.ModuleList(FusionLayer(features, heads, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(features)

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows, padding = self.stem(values, padding)
        if self.positions:
            rows = rows + sincos(torch.arange(rows.shape[1]), rows.shape[2]).to(rows)
        ignored = None if padding is None else something_attended(padding)
        for layer in self.layers:
            rows = layer(Tokens(rows, ignored))
        return self.norm(rows), padding


class Recurrent(nn.Module):
    """A GRU that reads from the first step to the last, so that steps never see the padding after them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(channels, hidden, batch_first=True)

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        states, _ = self.gru(blank(values, padding))
        return states, padding  # (batch, length, hidden)


def series(
    shape: tuple[int, ...], width: int, hidden: int = 128, layers: int = 2, heads: int = 4, stride: int = 4
) -> ModalityEncoder:
    """Build the general-purpose encoder: strided convolutions, positions, a small transformer.

    One token represents `stride` steps; the convolutions overlap, so that even a few steps produce tokens.
    """
    stem = StridedStem(shape[0], hidden, stride)
    network = SequenceTransformer(stem, hidden, layers, heads, positions=True)
    return ModalityEncoder(network, SequenceAdapter(hidden, width))


def transformer(
    shape: tuple[int, ...],
    width: int,
    layers: int = 5,
    heads: int = 5,
    hidden: int = 40,
    feed_forward: int | None = None,
) -> ModalityEncoder:
    """Build the paper's sequence transformer: every step is a token, without a position code.

    Published runs have a feed_forward of 2 048. The default is four times `hidden`, which is faster and
    has fewer parameters.
    """
    stem = StepwiseStem(shape[0], hidden)
    network = SequenceTransformer(stem, hidden, layers, heads, positions=False, feed_forward=feed_forward)
    return ModalityEncoder(network, SequenceAdapter(hidden, width))


def gru(shape: tuple[int, ...], width: int, hidden: int = 512) -> ModalityEncoder:
    """Build a gated recurrent unit whose state after every step is a token."""
    return ModalityEncoder(Recurrent(shape[0], hidden), SequenceAdapter(hidden, width))


def blank(values: Tensor, padding: Tensor | None) -> Tensor:
    """Return the values with 0 in place of NaN and of everything under padding."""
    if padding is not None:
        values = values.masked_fill(padding[..., None], 0.0)
    return values.masked_fill(values.isnan(), 0.0)


def something_attended(padding: Tensor) -> Tensor:
    """Return the padding, unset in records that are all padding: attention over nothing would be NaN."""
    return padding & ~padding.all(dim=1, keepdim=True)


class TokenStem(nn.Module):
    """Maps token ids to learned vectors; anything under padding is read as id 0, a vector of zeros."""

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
    """Build token vectors, fixed sin-cos positions and a pre-norm transformer; one token per text token."""
    network = SequenceTransformer(TokenStem(shape[0], hidden), hidden, layers, heads, positions=True)
    return ModalityEncoder(network, SequenceAdapter(hidden, width))


LEAK = 0.1  # slope of the leaky ReLU below zero


class CausalConvolutions(nn.Module):
    """Convolutions over pairs of steps: an output depends on the steps up to its own, and on none after.

    Pairs start at the first step, so that with five convolutions 32 readings become one output that depends
    on all of them. A step without a partner is paired with zeros.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel_size=2, stride=2) for before, after in pairwise(sizes)
        )

    def forward(self, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor | None]:
        for convolution in self.convolutions:
            values = blank(values, padding).transpose(1, 2)  # (batch, channels, length)
            values = F.pad(values, (0, values.shape[2] % 2))
            values = F.leaky_relu(convolution(values), LEAK).transpose(1, 2)
            if padding is not None:  # an output is real if the first step of its pair is
                padding = padding[:, ::2]
        return values, padding  # (batch, ceil(length / 2^layers), sizes[-1])


def force(shape: tuple[int, ...], width: int, hidden: Sequence[int] = (16, 32, 64, 128)) -> ModalityEncoder:
    """Build Vision&Touch's force encoder, 6-16-32-64-128-width: 32 readings become one token."""
    check_hidden("force", hidden)
    return ModalityEncoder(CausalConvolutions([shape[0], *hidden, width]), SequenceAdapter(width, width))
