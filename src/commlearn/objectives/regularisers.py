"""Objectives that do not contrast samples with each other, and regularisers.

VICReg's and SIGReg's objectives let views agree and samples fill the space. HRIL's regularisers make the
concatenated vectors of all modalities agree and their joint moment have many directions. COrAL's makes
vectors that should hold different information point in different directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.objectives.contrasts import check_pair, unit_rows


def alignment(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    present: Sequence[Tensor | None] | None = None,
    least: float = 0.5,
) -> Tensor:
    """Return how far two views, with all modalities side by side, are from agreeing and filling their space.

    With c the unit vectors of all modalities, side by side and normalised to length 1,

        loss = mean_i (1 - c1_i . c2_i)^2 + mean_d max(0, least - deviation_d((c1 + c2) / 2)).

    Args:
        first: vectors of each modality from one view, (N, dim) each; zeros where a sample lacks it.
        second: the same from the other view.
        present: for each modality, which samples have it, (N,) bool, or None if all do; deviations are
            computed over these samples.
        least: deviation below which a dimension is penalised.

    Example:
        >>> z = torch.eye(4)
        >>> round(alignment([z, z], [z, z], least=0.0).item(), 4)
        0.0
    """
    first_joint, second_joint = (_side_by_side(view) for view in (first, second))
    disagreement = (1 - (first_joint * second_joint).sum(dim=1)).square().mean()
    masks = present or [None] * len(first)
    blocks = ((first_joint + second_joint) / 2).split([part.shape[1] for part in first], dim=1)
    rows = [block if mask is None else block[mask] for block, mask in zip(blocks, masks, strict=True)]
    shortfalls = [spread_below(part, least) for part in rows if len(part) > 1]  # one row has no deviation
    return disagreement + torch.cat(shortfalls).mean() if shortfalls else disagreement


def concentration(vectors: Sequence[Tensor], limit: float = 0.5) -> Tensor:
    """Return how much of the modalities' joint second moment is in one direction, above a limit.

    With T the mean over samples of the outer product of their vectors, and G its core, which is T with every
    mode rotated to its singular directions (Tucker decomposition, higher-order SVD),

        loss = max(0, max G^2 / |G|^2 - limit).

    The directions are treated as constants: no gradient flows through the decomposition. For two modalities
    the gradient is exact nonetheless. The tensor has dim^n entries.

    Args:
        vectors: vectors of two or more modalities, (N, dim) each.
        limit: share of the core's squared norm that one entry may have.

    Example:
        >>> concentration([torch.ones(4, 2), torch.ones(4, 2)]).item()  # one direction has all
        0.5
        >>> concentration([torch.eye(4), torch.eye(4)]).item()  # four have the same
        0.0
    """
    vectors = [part.to(torch.promote_types(part.dtype, torch.float32)) for part in vectors]
    with torch.autocast(vectors[0].device.type, enabled=False):
        joint = vectors[0]  # (N, dim), then one more dim for each modality except the last
        for part in vectors[1:-1]:
            joint = joint[..., None] * part.reshape(len(part), *[1] * (joint.ndim - 1), -1)
        core = torch.tensordot(joint, vectors[-1], dims=([0], [0])) / len(joint)  # (dim, ..., dim)
        for mode in range(len(vectors)):
            core = core.movedim(mode, 0)
            unfolded = core.flatten(1)  # (dim, the rest)
            finite = unfolded.detach().nan_to_num(0.0, 0.0, 0.0)  # if values diverged, the loss is NaN
            rotation = torch.linalg.svd(finite, full_matrices=False).U
            core = (rotation.T @ unfolded).reshape(-1, *core.shape[1:]).movedim(0, mode)
        squares = core.square()
        return F.relu(squares.max() / squares.sum().clamp(min=1e-12) - limit)


def orthogonality(vectors: Sequence[Tensor], present: Sequence[Tensor | None] | None = None) -> Tensor:
    """Return the sum over pairs of vectors of the mean squared cosine between them.

        loss = sum_{a < b} mean_i cos(v_a_i, v_b_i)^2

    Args:
        vectors: vectors of the same samples, (N, dim) each: the fused one, and each modality's unique one.
        present: for each vector, which samples have it, (N,) bool, or None if all do; each mean is over the
            samples with both vectors.

    Example:
        >>> one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> orthogonality([one, other]).item(), orthogonality([one, one]).item()
        (0.0, 1.0)
    """
    all_present = vectors[0].new_ones(len(vectors[0]), dtype=torch.bool)
    masks = [all_present if mask is None else mask for mask in present or [None] * len(vectors)]
    unit = [unit_rows(part, 1.0) for part in vectors]
    terms = [
        ((unit[a] * unit[b]).sum(dim=1).square() * both_present).sum() / both_present.sum().clamp(min=1)
        for a, b in combinations(range(len(unit)), 2)
        for both_present in [masks[a] & masks[b]]
    ]
    return torch.stack(terms).sum()


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


def spread_below(rows: Tensor, least: float) -> Tensor:
    """Return by how much the deviation of each dimension falls below the least one wanted, (dim,)."""
    return F.relu(least - (rows.var(dim=0) + 1e-4).sqrt())


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    return unit_rows(torch.cat([unit_rows(part, 1.0) for part in parts], dim=1), 1.0)


def _covariances(rows: Tensor) -> Tensor:
    """Return the sum of squared covariances of all ordered pairs of dimensions, per dimension."""
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / (len(rows) - 1)  # (dim, dim)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / rows.shape[1]
