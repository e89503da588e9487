"""What stands between an embedding and its loss, never seen by a probe: heads, temperatures, critics."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["HEAD", "LearnedTemperature", "PairCritic", "Temperature", "projection_head", "temperature_of"]


HEAD = (512, 256)  # hidden and output features of the published head


def projection_head(width: int, hidden: int = HEAD[0], out: int = HEAD[1]) -> nn.Sequential:
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


class Temperature(nn.Module):
    """A temperature that stays as it is."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self) -> float:
        return self.value


class LearnedTemperature(nn.Module):
    """A temperature that is learned, as a logarithm, and never falls below a hundredth.

    Args:
        start: its first value.
    """

    lowest = 0.01

    def __init__(self, start: float = 0.1) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(start)))

    def forward(self) -> Tensor:
        return self.log.exp().clamp(min=self.lowest)


def temperature_of(choice: float | Literal["learned"]) -> nn.Module:
    """The temperature that a configuration names."""
    return LearnedTemperature() if choice == "learned" else Temperature(float(choice))


class PairCritic(nn.Module):
    """Scores every pair of a row of one side with a row of the other: f(x, y) = g(x) . h(y).

    With enough outputs, g and h express any score; a score for each pair costs one product.

    Args:
        first: features of the first side.
        second: features of the second.
        hidden: width of the layers between.
    """

    def __init__(self, first: int, second: int, hidden: int = 256) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(
                nn.Linear(features, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
            )
            for features in (first, second)
        )
        self.scale = 1 / math.sqrt(hidden)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:  # (N, first), (M, second)
        return self.first(first) @ self.second(second).T * self.scale  # (N, M)
