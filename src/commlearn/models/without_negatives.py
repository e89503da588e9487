"""CoMM's terms without negatives: records are not contrasted with the others of their batch or group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commlearn.batch import Subset
from commlearn.objectives import sigreg, vicreg

Projections = Mapping[Subset, Tensor]


class SIGReg(nn.Module):
    """Terms that pull every subset towards the full fusion of the other view, and its records to a Gaussian.

        term[s] = (1 - weight) * mean ((s - full') / 2)^2 + weight * SIGReg(s), the mean over both views

    Each training step draws new directions from its step number, so that they are the same on every rank
    and after a resume.

    Args:
        weight: weight of the Gaussian part.
        slices: number of directions onto which samples are projected.

    Example:
        >>> both = ("left", "right")
        >>> first, second = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))
        >>> [subset for subset in SIGReg()({both: first}, {both: second}, both)]
        [('left', 'right')]
    """

    step: Tensor

    def __init__(self, weight: float = 0.05, slices: int = 256) -> None:
        super().__init__()
        self.weight, self.slices = weight, slices
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    def forward(
        self,
        first: Projections,
        second: Projections,
        full: Subset,
        temperature: Any = None,
        present: Mapping[Subset, Tensor] | None = None,
        groups: Tensor | None = None,
    ) -> dict[Subset, Tensor]:
        directions = self.directions(first[full].shape[1]).to(first[full].device)
        self.step += self.training

        def loss(rows: Tensor, other: Tensor) -> Tensor:
            distance = F.mse_loss(rows, other) / 4  # squared distance of both from their midpoint
            return (1 - self.weight) * distance + self.weight * sigreg(rows, directions.to(rows.dtype))

        return _terms(loss, first, second, full, present)

    def directions(self, features: int) -> Tensor:
        """Return this step's unit vectors, (features, slices)."""
        draw = torch.Generator().manual_seed(int(self.step))
        return F.normalize(torch.randn(features, self.slices, generator=draw), dim=0)


def vicreg_terms(
    first: Projections,
    second: Projections,
    full: Subset,
    temperature: Any = None,
    present: Mapping[Subset, Tensor] | None = None,
    groups: Tensor | None = None,
) -> dict[Subset, Tensor]:
    """Return VICReg between every subset and the full fusion of the other view, the mean over both views.

    Temperature and groups, which a contrast with negatives uses, are ignored here.
    """
    return _terms(vicreg, first, second, full, present)


def _terms(
    loss: Callable[[Tensor, Tensor], Tensor],
    first: Projections,
    second: Projections,
    full: Subset,
    present: Mapping[Subset, Tensor] | None,
) -> dict[Subset, Tensor]:
    """Return each subset's loss with the full fusion of the other view; 0 if fewer than two rows have it."""
    terms = {}
    for subset in first:
        rows = (present or {}).get(subset)
        if rows is not None and rows.sum() < 2:
            terms[subset] = 0.0 * first[subset].sum()
            continue
        vectors = first[subset], second[full], second[subset], first[full]
        promoted = [part.to(torch.promote_types(part.dtype, torch.float32)) for part in vectors]
        first_rows, full_second, second_rows, full_first = [
            part if rows is None else part[rows] for part in promoted
        ]
        with torch.autocast(first_rows.device.type, enabled=False):
            terms[subset] = (loss(first_rows, full_second) + loss(second_rows, full_first)) / 2
    return terms
