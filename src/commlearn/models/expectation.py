"""What one vector lets expect of another: ridge regression, followed while training goes on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PACE = 0.02  # weight of the newest batch in the running moments
RIDGE = 0.1  # added to the variances, in units of their mean


class Expectation(nn.Module):
    """The best linear guess of some numbers from others, over the batches seen last.

    Moments run along with training, as those of a batch norm do; no gradient is needed. Before the first
    batch the guess is zero. As in a batch norm, `track_running_stats` says whether the moments move.

    Args:
        given: how many numbers it guesses from.
        wanted: how many are guessed.

    Example:
        >>> given = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        >>> line = Expectation(2, 1)
        >>> line.observe(given, given[:, :1] + 3)
        >>> line(torch.zeros(1, 2)).item() > 2.5
        True
    """

    batches: Tensor
    squares: Tensor  # (given + 1, given + 1): mean products of the given numbers and 1
    products: Tensor  # (given + 1, wanted): theirs with the wanted ones
    weights: Tensor  # (given + 1, wanted): what these moments make of a guess

    def __init__(self, given: int, wanted: int) -> None:
        super().__init__()
        self.track_running_stats = True
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))
        self.register_buffer("squares", torch.zeros(given + 1, given + 1))
        self.register_buffer("products", torch.zeros(given + 1, wanted))
        self.register_buffer("weights", torch.zeros(given + 1, wanted))

    @torch.no_grad()
    def observe(self, given: Tensor, wanted: Tensor) -> None:
        """Take a batch into the moments, (rows, given) and (rows, wanted)."""
        if not self.track_running_stats:
            return
        with torch.autocast(given.device.type, enabled=False):
            rows = torch.cat([given.float(), torch.ones_like(given[:, :1]).float()], dim=1)
            self.batches += 1
            pace = (1 / self.batches).clamp(min=PACE).float()
            self.squares.lerp_(rows.T @ rows / len(rows), pace)
            self.products.lerp_(rows.T @ wanted.float() / len(rows), pace)
            spread = self.squares.diagonal()[:-1]
            ridge = torch.cat([(RIDGE * spread.mean()).expand_as(spread), spread.new_zeros(1)])
            factor, _ = torch.linalg.cholesky_ex(self.squares + ridge.clamp(min=1e-6).diag())
            self.weights.copy_(torch.cholesky_solve(self.products, factor))

    def forward(self, given: Tensor) -> Tensor:
        """The guess, (rows, wanted)."""
        slope, start = self.weights[:-1], self.weights[-1]
        return given @ slope.to(given.dtype) + start.to(given.dtype)
