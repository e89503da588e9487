"""InfoNCE in its NT-Xent form: the lower bound of mutual information that CoMM maximises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["check_pair", "info_nce", "retrieval_accuracy"]


def info_nce(first: Tensor, second: Tensor, temperature: float | Tensor = 0.1) -> Tensor:
    """NT-Xent over two views of the same N samples; row i of both belongs to sample i.

    With z the 2N normalised rows of both views and p(i) the other view of row i,

        loss = -1/(2N) sum_i log( exp(z_i.z_p(i) / t) / sum_{k != i} exp(z_i.z_k / t) ),

    so every row has one positive and 2N-2 negatives. I(first; second) >= log(2N-1) - loss.

    Args:
        first: projections of one view, (N, dim).
        second: projections of the other view, (N, dim).
        temperature: what cosine similarities are divided by.

    Returns:
        The loss, a scalar tensor.

    Example:
        >>> z = torch.eye(4)
        >>> round(info_nce(z, z, temperature=0.1).item(), 4)
        0.0003
    """
    check_pair(first, second)
    samples = len(first)
    rows = F.normalize(torch.cat([first, second]), dim=1)  # (2N, dim)
    similarity = rows @ rows.T / temperature  # (2N, 2N)
    itself = torch.eye(2 * samples, dtype=torch.bool, device=rows.device)
    similarity = similarity.masked_fill(itself, float("-inf"))
    positive = torch.arange(2 * samples, device=rows.device).roll(samples)  # (2N,)
    return F.cross_entropy(similarity, positive)


@torch.no_grad()
def retrieval_accuracy(first: Tensor, second: Tensor) -> Tensor:
    """Share of rows of `first` whose most similar row of `second` is their own sample.

    Example:
        >>> retrieval_accuracy(torch.eye(3), torch.eye(3)).item()
        1.0
    """
    similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T  # (N, N)
    return (similarity.argmax(dim=1) == torch.arange(len(first), device=first.device)).float().mean()


def check_pair(first: Tensor, second: Tensor) -> None:
    """Refuse what a contrast cannot be computed on."""
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"A contrast needs two views of one shape (samples, dim); got {tuple(first.shape)} "
            f"and {tuple(second.shape)}."
        )
    if len(first) < 2:
        raise ValueError(
            f"A contrast needs at least 2 samples, got {len(first)}: a sample is told apart from the "
            "others of its batch. Give a larger batch, or drop the last incomplete one."
        )
