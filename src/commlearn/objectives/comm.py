"""CoMM's objective: every subset of modalities against all of them, across two augmented views."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from commlearn.objectives.info_nce import check_pair, contrast, unit_rows
from commlearn.objectives.log_sums import log_sums_within

__all__ = ["Subset", "comm_terms"]

Subset = tuple[str, ...]
"""Names of modalities, in schema order."""


def comm_terms(
    first: Mapping[Subset, Tensor],
    second: Mapping[Subset, Tensor],
    full: Subset,
    temperature: float | Tensor = 0.1,
    present: Mapping[Subset, Tensor] | None = None,
) -> dict[Subset, Tensor]:
    """The terms of CoMM's loss, one for each subset s of modalities.

        term[s] = 1/2 [ NTX(first[s], second[full]) + NTX(second[s], first[full]) ]

    The term of all modalities reaches R + U1 + U2 + S, the term of modality i alone R + U_i; the
    loss is their mean.

    Args:
        first: projection of each subset from the first augmented view, each (N, dim).
        second: the same from the second view.
        full: the subset of all modalities; a key of both.
        temperature: of the contrast.
        present: for a subset, which samples have all of its modalities, (N,) bool; a subset that is
            not named is complete. A term is computed over its samples; one with fewer than two is 0.

    Returns:
        A scalar for each subset, in the order of `first`.

    Example:
        >>> import torch
        >>> both, left = ("left", "right"), ("left",)
        >>> views = {left: torch.eye(4), both: torch.eye(4)}
        >>> sorted(len(subset) for subset in comm_terms(views, views, full=both))
        [1, 2]
    """
    for subset in first:
        check_pair(first[subset], second[full])
        check_pair(second[subset], first[full])
    views = [{key: unit_rows(rows, temperature) for key, rows in view.items()} for view in (first, second)]
    sums = [log_sums_within(view[full]) for view in views]  # shared by all complete subsets
    alone = sums[0], sums[1]
    terms = {}
    for subset in first:
        one, two = (view[subset] for view in views)
        all_one, all_two = (view[full] for view in views)
        rows = (present or {}).get(subset)
        if rows is None:
            terms[subset] = _term(one, two, all_one, all_two, alone)
        elif rows.sum() < 2:
            terms[subset] = 0.0 * first[subset].sum()
        else:
            kept_one, kept_two = all_one[rows], all_two[rows]
            kept_alone = log_sums_within(kept_one), log_sums_within(kept_two)
            terms[subset] = _term(one[rows], two[rows], kept_one, kept_two, kept_alone)
    return terms


def _term(one: Tensor, two: Tensor, all_one: Tensor, all_two: Tensor, alone: tuple[Tensor, Tensor]) -> Tensor:
    """One subset's term, given the sums of the full fusions over themselves."""
    if one is all_one:  # the full subset: both halves are the same contrast
        return contrast(one, two, *alone)
    halves = (
        contrast(one, all_two, log_sums_within(one), alone[1]),
        contrast(two, all_one, log_sums_within(two), alone[0]),
    )
    return (halves[0] + halves[1]) / 2
