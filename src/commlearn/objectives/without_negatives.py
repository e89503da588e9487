"""Objectives that do not contrast samples with each other: views agree, and samples fill the space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.objectives.contrasts import check_pair
from commlearn.objectives.regularisers import spread_below


def sigreg(rows: Tensor, directions: Tensor, points: int = 17, reach: float = 5.0) -> Tensor:
    """Return how far samples are from an isotropic Gaussian, along random directions (Epps-Pulley; LeJEPA).

    With f the empirical characteristic function of the N samples along one direction, the loss is the mean
    over directions of

        N * integral |f(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt,

    by the trapezoid rule. For Gaussian samples it is about 1, whatever N is.

    Args:
        rows: samples, (N, dim).
        directions: unit vectors, (dim, slices); if redrawn at each step, they cover every direction.
        points: number of points of the trapezoid rule.
        reach: the integral goes from -reach to reach.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> normal, slices = torch.randn(500, 4, generator=draw), torch.eye(4)
        >>> sigreg(normal, slices).item() < 2 < sigreg(2 * normal, slices).item()
        True
    """
    times = torch.linspace(0.0, reach, (points + 1) // 2, dtype=rows.dtype, device=rows.device)  # even in t
    angles = (rows @ directions)[..., None] * times  # (N, slices, times)
    gaussian = (-times.square() / 2).exp()
    distance = (angles.cos().mean(dim=0) - gaussian).square() + angles.sin().mean(dim=0).square()
    return 2 * len(rows) * torch.trapezoid(distance * gaussian, times, dim=-1).mean()


def vicreg(
    first: Tensor, second: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Return VICReg's loss: views agree, every dimension varies, and no two vary together.

        loss = invariance * mean (first - second)^2
             + variance * mean over both views and dimensions of max(0, 1 - deviation)
             + covariance * sum over both views and pairs of dimensions of their squared covariance / dim

    Args:
        first: projections of one view, (N, dim), not normalised.
        second: projections of the other view, (N, dim); row i belongs to the same sample.
        invariance: weight of the first part.
        variance: weight of the second part.
        covariance: weight of the third part.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> spread, point = torch.randn(500, 4, generator=draw), torch.zeros(500, 4)
        >>> vicreg(spread, spread).item() < 1 < vicreg(point, point).item()
        True
    """
    check_pair(first, second)
    shortfall = (spread_below(first, 1.0).mean() + spread_below(second, 1.0).mean()) / 2
    squared_covariances = _covariances(first) + _covariances(second)
    return invariance * F.mse_loss(first, second) + variance * shortfall + covariance * squared_covariances


def _covariances(rows: Tensor) -> Tensor:
    """Return the sum of squared covariances of all ordered pairs of dimensions, per dimension."""
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / (len(rows) - 1)  # (dim, dim)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]
