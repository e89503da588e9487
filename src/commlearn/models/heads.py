"""Projection heads: seen by the loss, never by a probe."""

from __future__ import annotations

from torch import nn

__all__ = ["projection_head"]


def projection_head(width: int, hidden: int = 512, out: int = 256) -> nn.Sequential:
    """CoMM's head: Linear-BN-ReLU, Linear-BN-ReLU, Linear."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),  # batch norm brings its own bias
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out),
    )
