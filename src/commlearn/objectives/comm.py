"""CoMM's objective: every subset of modalities against all of them, across two augmented views."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from commlearn.objectives.info_nce import info_nce

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
        >>> both, left = ("left", "right"), ("left",)
        >>> views = {left: torch.eye(4), both: torch.eye(4)}
        >>> sorted(len(subset) for subset in comm_terms(views, views, full=both))
        [1, 2]
    """
    terms = {}
    for subset in first:
        views = [first[subset], second[subset], first[full], second[full]]
        if present is not None and subset in present:
            views = [view[present[subset]] for view in views]
            if len(views[0]) < 2:
                terms[subset] = 0.0 * first[subset].sum()
                continue
        one, two, all_one, all_two = views
        terms[subset] = (info_nce(one, all_two, temperature) + info_nce(two, all_one, temperature)) / 2
    return terms
