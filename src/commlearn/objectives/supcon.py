"""The supervised contrast: samples of one class are each other's positives."""

from __future__ import annotations

import torch
from torch import Tensor

from commlearn.objectives.info_nce import check_pair, unit_rows


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
