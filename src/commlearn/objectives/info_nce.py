"""InfoNCE in its NT-Xent form: the lower bound of mutual information that CoMM maximises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from commlearn.objectives.log_sums import blocks, log_sums_between, log_sums_within


def info_nce(
    first: Tensor, second: Tensor, temperature: float | Tensor = 0.1, groups: Tensor | None = None
) -> Tensor:
    """Return NT-Xent over two views of the same N samples; row i of both belongs to sample i.

    With z the 2N normalised rows of both views and p(i) the other view of row i,

        loss = -1/(2N) sum_i log( exp(z_i.z_p(i) / t) / sum_{k != i} exp(z_i.z_k / t) ),

    so every row has one positive and 2N-2 negatives. I(first; second) >= log(2N-1) - loss. Memory
    grows with N, not with its square.

    Args:
        first: projections of one view, (N, dim).
        second: projections of the other view, (N, dim).
        temperature: divisor of the cosine similarities.
        groups: group of each sample, (N,) integers; samples of one group are not each other's negatives,
            and the bound no longer holds.

    Returns:
        The loss, a scalar tensor.

    Example:
        >>> z = torch.eye(4)
        >>> round(info_nce(z, z, temperature=0.1).item(), 4)
        0.0003
    """
    check_pair(first, second, groups)
    first, second = unit_rows(first, temperature), unit_rows(second, temperature)
    return contrast(first, second, log_sums_within(first, groups), log_sums_within(second, groups), groups)


def contrast(
    first: Tensor,
    second: Tensor,
    within_first: Tensor,
    within_second: Tensor,
    groups: Tensor | None = None,
) -> Tensor:
    """Return NT-Xent of two views, from their scaled rows and the log sums within each view.

    Args:
        first: rows of one view as `unit_rows` makes them, (N, dim); for several at once, (..., N, dim).
        second: rows of the other view, (N, dim).
        within_first: `log_sums_within(first, groups)`, (..., N); contrasts with several other views share it.
        within_second: the same for `second`, (N,).
        groups: group of each sample, (N,); samples of one group are not each other's negatives.

    Returns:
        A scalar for each view in `first`, (...).
    """
    rows, columns = log_sums_between(first, second, groups)  # (..., N), (..., N)
    positives = (first * second).sum(dim=-1)  # (..., N): each row with its other view
    log_sums = torch.logaddexp(rows, within_first) + torch.logaddexp(columns, within_second)
    return (log_sums / 2 - positives).mean(dim=-1)


def unit_rows(rows: Tensor, temperature: float | Tensor) -> Tensor:
    """Return rows of length 1 / sqrt(t), whose products are cosines over t, in float32 or wider."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return F.normalize(rows, dim=-1) * temperature**-0.5


@torch.no_grad()
def retrieval_accuracy(first: Tensor, second: Tensor, present: Tensor | None = None) -> Tensor:
    """Return the share of rows of `first` whose most similar row of `second` is the same sample.

    Args:
        first: (N, dim).
        second: (N, dim); row i belongs to the same sample.
        present: which samples take part, (N,) bool; all if not given.

    Example:
        >>> retrieval_accuracy(torch.eye(3), torch.eye(3)).item()
        1.0
    """
    if present is not None:
        first, second = first[present], second[present]
    targets = F.normalize(second, dim=1).T  # (dim, N); row lengths of `first` do not change the order
    most_similar = torch.cat([(first[block] @ targets).argmax(dim=1) for block in blocks(first)])
    return (most_similar == torch.arange(len(first), device=first.device)).float().mean()


def check_pair(first: Tensor, second: Tensor, groups: Tensor | None = None) -> None:
    """Reject views and groups that no contrast can be computed on."""
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"A contrast needs two views of the same shape (samples, dim); got {tuple(first.shape)} "
            f"and {tuple(second.shape)}."
        )
    if len(first) < 2:
        raise ValueError(
            f"A contrast needs at least 2 samples, got {len(first)}: a sample is distinguished from the "
            "others of its batch. Give a larger batch, or drop the last incomplete one."
        )
    if groups is not None and groups.shape != first.shape[:1]:
        raise ValueError(
            f"Every sample needs a group number: {len(first)} samples, groups of shape {tuple(groups.shape)}."
        )
