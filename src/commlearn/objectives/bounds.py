"""Bounds on mutual information from a critic's scores of all pairs of a batch.

Row i of `scores` holds f(x_i, y_j) for all j. x_i and y_i were drawn together, and y_j with j != i serves
as a draw from p(y). For information given a condition c, y_j must be drawn from p(y | c_i), and
`among[i, j]` is the weight of y_j as such a draw. For classes it is 1 if c_j = c_i, otherwise 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nce_bound(scores: Tensor, among: Tensor | None = None) -> Tensor:
    """Return InfoNCE, a lower bound on I(X; Y | C) that is close to it if the critic maximises the bound.

        1/N sum_i [ f(x_i, y_i) - log( sum_j a_ij exp f(x_i, y_j) / sum_j a_ij ) ]

    It cannot exceed log N.

    Args:
        scores: scores of all pairs, (N, N).
        among: the weights a_ij >= 0, (N, N), with a_ii > 0; all 1 if not given.

    Example:
        >>> round(nce_bound(100 * torch.eye(8)).item(), 4), round(torch.tensor(8.0).log().item(), 4)
        (2.0794, 2.0794)
    """
    weights = _weights(scores, among)
    weighted = scores + weights.log()  # a weight of 0 leaves a pair out
    return (scores.diagonal() + weights.sum(dim=1).log() - weighted.logsumexp(dim=1)).mean()


def club_bound(scores: Tensor, among: Tensor | None = None) -> Tensor:
    """Return NCE-CLUB, which is at least I(X; Y | C) if the critic is the one that maximises InfoNCE.

        E[ f(x_i, y_i) ] - E_{j != i}[ f(x_i, y_j) ]

    With that critic, f(x, y) = log p(y | x) / p(y) + c(x), it is the information plus the divergence
    of the product of the marginals from the joint distribution. It is 0 if nothing is shared, and the
    more is shared, the more it exceeds the information.

    Args:
        scores: scores of all pairs, (N, N).
        among: the weights a_ij >= 0, (N, N); all 1 if not given. A row without any other pair is left out.

    Example:
        >>> club_bound(torch.eye(4)).item()
        1.0
    """
    weights = _weights(scores, among).clone().fill_diagonal_(0.0)
    total = weights.sum(dim=1)  # (N,)
    valid = (total > 0).to(scores.dtype)
    negative = (weights * scores).sum(dim=1) / total.clamp(min=torch.finfo(scores.dtype).tiny)
    return ((scores.diagonal() - negative) * valid).sum() / valid.sum().clamp(min=1)


def leave_one_out_bound(scores: Tensor, among: Tensor | None = None) -> Tensor:
    """Return a tighter upper bound: InfoNCE that excludes a row's own pair from those it is compared with.

        1/N sum_i [ f(x_i, y_i) - log( sum_{j != i} a_ij exp f(x_i, y_j) / sum_{j != i} a_ij ) ]

    With the critic that maximises InfoNCE, the mean inside the logarithm has the expectation exp c(x_i). So
    the logarithm is at most c(x_i) on average (Jensen), and the whole is at least I(X; Y | C). Unlike
    NCE-CLUB, it tends to the information itself as N grows.

    Args:
        scores: scores of all pairs, (N, N).
        among: the weights a_ij >= 0, (N, N); all 1 if not given. A row without any other pair is left out.

    Example:
        >>> round(leave_one_out_bound(torch.eye(4)).item(), 4)
        1.0
    """
    weights = _weights(scores, among).clone().fill_diagonal_(0.0)
    valid = weights.sum(dim=1) > 0
    if not valid.any():
        return 0.0 * scores.sum()
    negative = (scores[valid] + weights[valid].log()).logsumexp(dim=1) - weights[valid].sum(dim=1).log()
    return (scores.diagonal()[valid] - negative).mean()


def near(conditions: Tensor, bandwidth: float = 0.25) -> Tensor:
    """Return the weight of row j as a draw given the condition of row i, a kernel of the cosine, (N, N).

    Example:
        >>> near(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(decimals=3)
        tensor([[1.0000, 1.0000, 0.0180],
                [1.0000, 1.0000, 0.0180],
                [0.0180, 0.0180, 1.0000]])
    """
    rows = torch.nn.functional.normalize(conditions.detach(), dim=1)
    return ((rows @ rows.T).clamp(max=1.0).sub(1.0) / bandwidth).exp()


def _weights(scores: Tensor, among: Tensor | None) -> Tensor:
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or len(scores) < 2:
        raise ValueError(
            f"A bound needs the scores of all pairs of at least 2 samples, (N, N); got {tuple(scores.shape)}."
        )
    return torch.ones_like(scores) if among is None else among.to(scores.dtype)
