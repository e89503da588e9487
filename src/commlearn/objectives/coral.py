"""COrAL's regulariser: vectors that should hold different information point in different directions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from commlearn.objectives.info_nce import unit_rows


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
