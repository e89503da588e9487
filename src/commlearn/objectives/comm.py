"""CoMM's objective: every subset of modalities against all of them, across two augmented views."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from commlearn.batch import Subset
from commlearn.objectives.contrasts import check_pair, contrast, unit_rows
from commlearn.objectives.log_sums import in_one_block, log_sums_within


def comm_terms(
    first: Mapping[Subset, Tensor],
    second: Mapping[Subset, Tensor],
    full: Subset,
    temperature: float | Tensor | Mapping[Subset, float | Tensor] = 0.1,
    present: Mapping[Subset, Tensor] | None = None,
    groups: Tensor | None = None,
) -> dict[Subset, Tensor]:
    """Return the terms of CoMM's loss, one for each subset s of modalities.

        term[s] = 1/2 [ NTX(first[s], second[full]) + NTX(second[s], first[full]) ]

    The term of all modalities reaches R + U1 + U2 + S, the term of modality i alone R + U_i; the
    loss is their mean.

    Args:
        first: projection of each subset from the first augmented view, each (N, dim).
        second: the same from the second view.
        full: the subset of all modalities; a key of both.
        temperature: temperature of the contrast; by subset if terms have different ones.
        present: by subset, which samples have all of its modalities, (N,) bool; a subset that is not
            named is complete. A term is computed over these samples; with fewer than two it is 0.
        groups: group of each sample, (N,) integers; samples of one group are not each other's negatives.

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
        check_pair(first[subset], second[full], groups)
        check_pair(second[subset], first[full], groups)
    by_term = temperature if isinstance(temperature, Mapping) else dict.fromkeys(first, temperature)
    uniform = not present and len({*by_term.values()}) == 1
    if uniform and len(first) > 1 and in_one_block(first[full]):
        return _few_terms(first, second, full, by_term[full], groups)
    cache: dict[float | Tensor, list[Tensor]] = {}  # by temperature: what its complete terms share
    terms = {}
    for subset in first:
        t = by_term[subset]
        if t not in cache:
            full_rows = [unit_rows(view[full], t) for view in (first, second)]
            cache[t] = [*full_rows, *(log_sums_within(rows, groups) for rows in full_rows)]
        full_first, full_second, *sums = cache[t]
        first_rows, second_rows = full_first, full_second
        if subset != full:
            first_rows, second_rows = unit_rows(first[subset], t), unit_rows(second[subset], t)
        full_sums = sums[0], sums[1]
        rows = (present or {}).get(subset)
        if rows is None:
            terms[subset] = _term(first_rows, second_rows, full_first, full_second, full_sums, groups)
        elif rows.sum() < 2:
            terms[subset] = 0.0 * first[subset].sum()
        else:
            present_first, present_second = full_first[rows], full_second[rows]
            row_groups = None if groups is None else groups[rows]
            row_sums = (
                log_sums_within(present_first, row_groups),
                log_sums_within(present_second, row_groups),
            )
            terms[subset] = _term(
                first_rows[rows], second_rows[rows], present_first, present_second, row_sums, row_groups
            )
    return terms


def _term(
    first: Tensor,
    second: Tensor,
    full_first: Tensor,
    full_second: Tensor,
    full_sums: tuple[Tensor, Tensor],
    groups: Tensor | None,
) -> Tensor:
    """Return one subset's term, given the log sums within each view of the full fusion."""
    if first is full_first:  # the full subset: both halves are the same contrast
        return contrast(first, second, *full_sums, groups)
    halves = (
        contrast(first, full_second, log_sums_within(first, groups), full_sums[1], groups),
        contrast(second, full_first, log_sums_within(second, groups), full_sums[0], groups),
    )
    return (halves[0] + halves[1]) / 2


def _few_terms(
    first: Mapping[Subset, Tensor],
    second: Mapping[Subset, Tensor],
    full: Subset,
    temperature: float | Tensor,
    groups: Tensor | None,
) -> dict[Subset, Tensor]:
    """Return the same terms for few samples that have all modalities, computing all subsets at once."""
    order = [full, *(subset for subset in first if subset != full)]
    rows = torch.stack([view[subset] for view in (first, second) for subset in order])
    rows = unit_rows(rows, temperature)  # (2 * subsets, N, dim)
    first_rows, second_rows = rows.chunk(2)
    first_sums, second_sums = log_sums_within(rows, groups).chunk(2)
    halves = contrast(first_rows, second_rows[0], first_sums, second_sums[0], groups)  # (subsets,)
    reverse = contrast(second_rows[1:], first_rows[0], second_sums[1:], first_sums[0], groups)
    # one contrast for the full fusion, the mean of two for each other subset
    terms = torch.cat([halves[:1], (halves[1:] + reverse) / 2])
    by_subset = dict(zip(order, terms.unbind(), strict=True))
    return {subset: by_subset[subset] for subset in first}
