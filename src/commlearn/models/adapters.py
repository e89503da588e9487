"""Adapters, which convert an encoder's features to tokens of the fusion's width."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn


class SequenceAdapter(nn.Module):
    """Passes a sequence of vectors on, projected only if its width differs from the fusion's."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.project = nn.Identity() if features == width else nn.Linear(features, width)

    def forward(self, features: Tensor) -> Tensor:  # (batch, length, features)
        return self.project(features)  # (batch, length, width)


class VectorAdapter(nn.Module):
    """Projects one vector to one token."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)

    def forward(self, features: Tensor) -> Tensor:  # (batch, features)
        return self.project(features).unsqueeze(1)  # (batch, 1, width)


class FeatureTokenizer(nn.Module):
    """One token per feature: its value times a learned direction plus a learned bias (FT-Transformer)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(features, width).uniform_(-bound, bound))

    def forward(self, features: Tensor) -> Tensor:  # (batch, features)
        return features.unsqueeze(-1) * self.weight + self.bias  # (batch, features, width)


class MapAdapter(nn.Module):
    """Turns each cell of a feature map into a token: 1x1 projection plus a fixed code of its position."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(channels, width)

    def forward(self, features: Tensor) -> Tensor:  # (batch, channels, height, width)
        height, width = features.shape[-2:]
        cells = rearrange(features, "b c h w -> b (h w) c")
        return self.project(cells) + sincos_positions(height, width, self.width).to(cells)


def sincos_positions(rows: int, columns: int, width: int) -> Tensor:
    """Return a fixed 2-D sin-cos code, (rows * columns, width), with half of the width for each axis.

    Example:
        >>> sincos_positions(2, 3, 8).shape
        torch.Size([6, 8])
    """
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    half = width // 2
    return torch.cat([sincos(y.flatten(), half), sincos(x.flatten(), width - half)], dim=1)


def sincos(position: Tensor, width: int) -> Tensor:
    """Return a fixed sin-cos code of positions on one axis, (positions, width)."""
    frequencies = 10_000 ** -(torch.arange(0, width, 2) / max(width, 1))
    angles = position[:, None] * frequencies  # (positions, ceil(width / 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
