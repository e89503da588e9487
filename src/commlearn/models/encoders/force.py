"""Encoder of force readings: causal convolutions, each of which halves the number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.errors import ConfigurationError
from commlearn.models.adapters import SequenceAdapter
from commlearn.models.encoders.sequence import blank
from commlearn.models.tokens import ModalityEncoder

LEAK = 0.1  # slope of the leaky ReLU below zero


class CausalConvolutions(nn.Module):
    """Convolutions of two steps at a time: a result has seen the steps up to its own, and none after.

    The pairs are counted from the first step on, so that 32 readings become one result that has seen
    them all. A step without a partner meets zero.

    Args:
        sizes: channels of the values, then of each result.
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
            if padding is not None:  # there is a result where its first step was there
                padding = padding[:, ::2]
        return values, padding  # (batch, ceil(length / 2^layers), sizes[-1])


def force(shape: tuple[int, ...], width: int, hidden: Sequence[int] = (16, 32, 64, 128)) -> ModalityEncoder:
    """Vision&Touch's encoder of force, 6-16-32-64-128-width: 32 readings become one token."""
    if not hidden or min(hidden) < 1:
        raise ConfigurationError(f"The hidden sizes of force are {list(hidden)}; give numbers above 0.")
    return ModalityEncoder(CausalConvolutions([shape[0], *hidden, width]), SequenceAdapter(width, width))
