"""The symmetric cross-entropy of CLIP: one modality retrieves the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.objectives.info_nce import check_pair

__all__ = ["clip_loss"]


def clip_loss(first: Tensor, second: Tensor, scale: float | Tensor) -> Tensor:
    """Symmetric cross-entropy over the N x N cosine similarities of two modalities.

        loss = 1/2 [ CE(scale * a b^T, identity) + CE(scale * b a^T, identity) ]

    Args:
        first: one modality's projections, (N, dim).
        second: the other's, (N, dim); row i belongs to the same sample.
        scale: what similarities are multiplied by (the inverse of a temperature).

    Example:
        >>> clip_loss(torch.eye(4), torch.eye(4), scale=100.0).item() < 1e-6
        True
    """
    check_pair(first, second)
    logits = scale * F.normalize(first, dim=1) @ F.normalize(second, dim=1).T  # (N, N)
    own = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
