"""The contrast with infinitely many masked versions of the other view, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from commlearn.objectives.info_nce import unit_rows


def masked_contrast(
    whole: Tensor, masked: Tensor, temperature: float | Tensor = 0.1, groups: Tensor | None = None
) -> Tensor:
    """Return InfoNCE of whole samples against all of their masked versions, from a few that were drawn.

    The normalised masked versions of sample j are treated as draws from a Gaussian with mean m_j and
    covariance C_j. With z_i the normalised whole sample i and s_ij(k) = z_i.z_jk for the k-th draw of j,

        E_k[ -log( exp(s_ii/t) / sum_j exp(s_ij/t) ) ]
            <= 1/N sum_i [ -z_i.m_i/t + log sum_j E exp(s_ij/t) ]                    (Jensen)
             = 1/N sum_i [ -z_i.m_i/t + log sum_j exp( z_i.m_j/t + z_i'C_j z_i/(2t^2) ) ]

    by the Gaussian's moment generating function. No covariance is formed: z_i.m_j and z_i'C_j z_i are
    the mean and the variance of s_ij over the draws.

    Args:
        whole: projections of whole samples, (N, dim).
        masked: projections of K masked versions of each, (K, N, dim), K at least 2.
        temperature: divisor of the cosine similarities.
        groups: group of each sample, (N,) integers; samples of one group are not each other's negatives.

    Example:
        >>> z = torch.eye(4)
        >>> round(masked_contrast(z, z.expand(3, 4, 4)).item(), 4)  # masks without effect: InfoNCE
        0.0001
    """
    if masked.ndim != 3 or masked.shape[1:] != whole.shape or len(whole) < 2 or len(masked) < 2:
        raise ValueError(
            "A masked contrast needs at least 2 samples (samples, dim) and at least 2 masked versions of "
            f"each (versions, samples, dim); got {tuple(whole.shape)} and {tuple(masked.shape)}."
        )
    anchors, draws = unit_rows(whole, 1.0), unit_rows(masked, 1.0)
    with torch.autocast(whole.device.type, enabled=False):
        similarity = torch.einsum("id,kjd->kij", anchors, draws)  # (K, N, N)
    variance, mean = torch.var_mean(similarity, dim=0)  # (N, N)
    logits = mean / temperature + variance / (2 * temperature**2)
    if groups is not None:
        same_group = (groups[:, None] == groups).fill_diagonal_(False)
        logits = logits.masked_fill(same_group, float("-inf"))
    return (logits.logsumexp(dim=1) - mean.diagonal() / temperature).mean()
