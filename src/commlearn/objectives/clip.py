"""CLIP's symmetric cross-entropy: each modality retrieves the other."""

from __future__ import annotations

from torch import Tensor

from commlearn.objectives.info_nce import check_pair, unit_rows
from commlearn.objectives.log_sums import log_sums_between


def clip_loss(first: Tensor, second: Tensor, scale: float | Tensor, groups: Tensor | None = None) -> Tensor:
    """Return the symmetric cross-entropy over the N x N cosine similarities of two modalities.

        loss = 1/2 [ CE(scale * a b^T, identity) + CE(scale * b a^T, identity) ]

    Memory grows with N, not with its square.

    Args:
        first: one modality's projections, (N, dim).
        second: the other modality's, (N, dim); row i belongs to the same sample.
        scale: factor of the similarities (the inverse of a temperature).
        groups: group of each sample, (N,) integers; samples of one group are not each other's negatives.

    Example:
        >>> import torch
        >>> clip_loss(torch.eye(4), torch.eye(4), scale=100.0).item() < 1e-6
        True
    """
    check_pair(first, second, groups)
    first, second = scale * unit_rows(first, 1.0), unit_rows(second, 1.0)
    rows, columns = log_sums_between(first, second, groups)  # (N,), (N,)
    positives = (first * second).sum(dim=1)  # (N,): each row with its own sample
    return ((rows + columns) / 2 - positives).mean()
