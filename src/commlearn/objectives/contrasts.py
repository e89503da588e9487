"""Contrasts: a sample is distinguished from the others of its batch.

InfoNCE in its NT-Xent form is the lower bound of mutual information that CoMM maximises. The others are
CLIP's symmetric cross-entropy of two modalities, the supervised contrast of classes, and the contrast with
infinitely many masked versions of the other view.
"""

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
        >>> clip_loss(torch.eye(4), torch.eye(4), scale=100.0).item() < 1e-6
        True
    """
    check_pair(first, second, groups)
    first, second = scale * unit_rows(first, 1.0), unit_rows(second, 1.0)
    rows, columns = log_sums_between(first, second, groups)  # (N,), (N,)
    positives = (first * second).sum(dim=1)  # (N,): each row with its own sample
    return ((rows + columns) / 2 - positives).mean()


def supcon(first: Tensor, second: Tensor, classes: Tensor, temperature: float | Tensor = 0.07) -> Tensor:
    """Return SupCon, in the form that takes the mean over positives outside the logarithm.

    With z the 2N normalised rows of both views, and P(i) the rows other than i of i's class,

        loss = -1/(2N) sum_i 1/|P(i)| sum_{p in P(i)} log( exp(z_i.z_p / t) / sum_{k != i} exp(z_i.z_k / t) ).

    Args:
        first: projections of one view, (N, dim).
        second: projections of the other view, (N, dim).
        classes: class of each sample, (N,) integers; below 0 the sample has none, and its only positive
            is its own other view.
        temperature: divisor of the cosine similarities.

    Example:
        >>> z = torch.eye(4)
        >>> round(supcon(z, z, torch.arange(4), temperature=0.1).item(), 4)  # every sample a class: NT-Xent
        0.0003
    """
    check_pair(first, second)
    samples = len(first)
    if classes.shape != (samples,):
        raise ValueError(
            f"Every sample needs a class: {samples} samples, classes of shape {tuple(classes.shape)}."
        )
    codes = -1 - torch.arange(samples, device=classes.device)  # a separate class each, below all real ones
    group = torch.where(classes < 0, codes, classes).repeat(2)  # (2N,)
    rows = unit_rows(torch.cat([first, second]), 1.0)  # (2N, dim)
    diagonal = torch.eye(2 * samples, dtype=torch.bool, device=rows.device)
    with torch.autocast(rows.device.type, enabled=False):
        logits = (rows @ rows.T / temperature).masked_fill(diagonal, float("-inf"))  # (2N, 2N)
    log_probs = logits.log_softmax(dim=1)
    positive = (group[:, None] == group) & ~diagonal
    return -(log_probs.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1)).mean()


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
