"""Partial information decomposition: what modalities say about a target, together and separately.

``broja`` splits the information of two modalities into redundant, unique and synergistic parts.
``order_spectrum`` decomposes that of any number of them; ``union_information`` is the quantity behind both.
Tables are joint probabilities with the target on the last axis; information is in bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from commlearn.errors import DataError
from commlearn.information.pid.marginals import Array, checked_table, information
from commlearn.information.pid.union_information import UnionInformation, union_information

__all__ = ["OrderSpectrum", "Pid", "UnionInformation", "broja", "order_spectrum", "union_information"]


@dataclass(frozen=True)
class Pid:
    """The information of two modalities about a target, split into four parts, in bits."""

    redundant: float  # information that either of them provides
    unique1: float  # information that only the first provides
    unique2: float  # information that only the second provides
    synergistic: float  # information that neither provides alone
    total: float  # I(X1, X2; Y), the sum of the four
    gap: float  # the certificate: no part is further than this from its true value


def broja(p: ArrayLike, tolerance: float = 1e-6) -> Pid:
    """Decompose the information that two modalities hold about a target (Bertschinger et al. 2014).

        I_u = min over q with q(x1, y) = p(x1, y) and q(x2, y) = p(x2, y) of I_q(Y; X1, X2)
        unique1 = I_u - I(X2; Y)                       unique2 = I_u - I(X1; Y)
        redundant = I(X1; Y) + I(X2; Y) - I_u          synergistic = I(X1, X2; Y) - I_u

    I_u is the certified lower bound, raised to max(I(X1; Y), I(X2; Y)) if rounding left it below. So no part
    is negative, the four sum to the total, unique parts err low and the others high, by at most ``gap``.
    The one assumption is that unique (hence redundant) information depends only on p(x1, y) and p(x2, y).

    Args:
        p: joint probabilities p[x1, x2, y]; they sum to 1.
        tolerance: the certificate to reach, in bits.

    Returns:
        The four parts, their sum and the certificate.

    Raises:
        DataError: ``p`` is not a joint distribution of three variables.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2))
        >>> for x1 in (0, 1):
        ...     for x2 in (0, 1):
        ...         p[x1, x2, x1 ^ x2] = 1 / 4
        >>> parts = broja(p)
        >>> round(parts.synergistic, 4), round(parts.redundant, 4)
        (1.0, 0.0)
    """
    table = checked_table(p, "p", 3)
    if table.ndim != 3:
        raise DataError(
            f"p has {table.ndim} axes, shape {table.shape}; broja needs p[x1, x2, y]. "
            "For more modalities use order_spectrum."
        )
    first, second = table.sum(axis=1), table.sum(axis=0)
    bits = float(np.log(2))
    information1, information2 = information(first) / bits, information(second) / bits
    total = max(information(table.reshape(-1, table.shape[2])) / bits, information1, information2)
    solution = union_information([first, second], tolerance)
    union = min(max(solution.lower, information1, information2), information1 + information2, total)
    return Pid(
        redundant=information1 + information2 - union,
        unique1=union - information2,
        unique2=union - information1,
        synergistic=total - union,
        total=total,
        gap=max(0.0, min(solution.upper, total) - union),
    )


Subset = tuple[int, ...]


@dataclass(frozen=True)
class OrderSpectrum:
    """The information of n modalities about a target, in bits."""

    # S(1), ..., S(n): the union information of single modalities, what pairs add, and so on
    spectrum: tuple[float, ...]
    # per modality, what the union information of single modalities would lose without it
    unique: tuple[float, ...]
    # S(1) minus all unique parts: carried by more than one modality. It is not redundancy
    non_exclusive: float
    # per modality, its fair share of the total: an attribution, not a decomposition
    shapley: tuple[float, ...]
    ladder: dict[Subset, float]  # I(X_A; Y) for every subset A of modalities, including the empty one
    total: float  # I(X_1, ..., X_n; Y), the sum of the spectrum
    gap: float  # the certificate: no S(k) and no unique part is further than this from its true value


def order_spectrum(p: ArrayLike, tolerance: float = 1e-6) -> OrderSpectrum:
    """Decompose the information of n modalities by order.

        I_u(k) = union information of all subsets of k modalities, each as one variable with p(x_A, y)
        S(k) = I_u(k) - I_u(k - 1)        U_i = I_u(all singles) - I_u(all singles but i)

    Every I_u is its certified lower bound, raised to those that it cannot be below. So no S(k) and no U_i is
    negative, and the S(k) sum to the total.

    Args:
        p: joint probabilities p[x_1, ..., x_n, y]; they sum to 1.
        tolerance: the certificate to reach, in bits.

    Returns:
        The spectrum, the unique parts, the attribution and the ladder of subsets.

    Raises:
        DataError: ``p`` is not a joint distribution, or its subsets have too many distinct posteriors.

    Example:
        >>> import numpy as np
        >>> p = np.zeros((2, 2, 2, 2))
        >>> for x in np.ndindex(2, 2, 2):
        ...     p[(*x, sum(x) % 2)] = 1 / 8
        >>> [round(part, 4) for part in order_spectrum(p).spectrum]
        [0.0, 0.0, 1.0]
    """
    table = checked_table(p, "p", 2)
    names = tuple(range(table.ndim - 1))
    ladder = _ladder(table)
    singles = [_marginal(table, (i,)) for i in names]
    rests = [union_information(singles[:i] + singles[i + 1 :], tolerance) for i in names if len(names) > 1]
    without = [union.lower for union in rests] or [0.0]
    floor, unions, gaps = max(without), [], [union.gap for union in rests]
    for size in range(1, len(names)):
        subsets = list(combinations(names, size))
        union = union_information([_marginal(table, subset) for subset in subsets], tolerance)
        floor = max(floor, union.lower, *(ladder[subset] for subset in subsets))
        unions.append(min(floor, ladder[names]))
        gaps.append(max(0.0, min(union.upper, ladder[names]) - unions[-1]))
    unions.append(ladder[names])
    unique = tuple(max(0.0, unions[0] - rest) for rest in without)
    return OrderSpectrum(
        spectrum=tuple(np.diff([0.0, *unions]).tolist()),
        unique=unique,
        non_exclusive=unions[0] - sum(unique),
        shapley=tuple(shapley(ladder, names).values()),
        ladder=ladder,
        total=ladder[names],
        gap=max(gaps, default=0.0),
    )


def _marginal(table: Array, subset: Subset) -> Array:
    """Return p(x_A, y) as a two-axis table."""
    others = tuple(i for i in range(table.ndim - 1) if i not in subset)
    return table.sum(axis=others).reshape(-1, table.shape[-1])


def _ladder(table: Array) -> dict[Subset, float]:
    """Return I(X_A; Y) of every subset, never less than that of a smaller subset inside it."""
    ladder: dict[Subset, float] = {(): 0.0}
    for size in range(1, table.ndim):
        for subset in combinations(range(table.ndim - 1), size):
            bits = information(_marginal(table, subset)) / float(np.log(2))
            ladder[subset] = max(bits, *(ladder[part] for part in combinations(subset, size - 1)), 0.0)
    return ladder


def shapley(ladder: Mapping[Any, Any], names: Sequence[Any], nothing: Any = 0.0) -> dict[Any, Any]:
    """Return the mean gain from adding each modality, over all orders in which modalities can be added."""
    shares = {}
    for name in names:
        others = [other for other in names if other != name]
        shares[name] = nothing
        for size in range(len(names)):
            weight = 1.0 / (len(names) * comb(len(others), size))
            for subset in combinations(others, size):
                joined = tuple(other for other in names if other in {*subset, name})
                gain = ladder[joined] - ladder.get(subset, nothing)
                shares[name] = shares[name] + gain * weight
    return shares
