"""How far a mean over records, or over groups of them, may be off."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, t

from commlearn.information.pid.marginals import Array


def standard_error(shares: Array, groups: np.ndarray | None = None) -> float:
    """Of the mean of the records' shares; m groups are m draws, and m / (m - 1) corrects their variance.

    Example:
        >>> standard_error(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
        1.0
    """
    centred = shares - shares.mean()
    if groups is None:
        return float(np.sqrt((centred**2).sum()) / len(shares))
    sums = np.bincount(groups, weights=centred)
    return float(np.sqrt(correction(groups) * (sums**2).sum()) / len(shares))


def correction(groups: np.ndarray | None) -> float:
    """Of the variance among groups, which is taken around their own mean."""
    return 1.0 if groups is None else 1 + 1 / _freedom(groups)


def half_width(error: float, level: float, groups: np.ndarray | None = None) -> float:
    """Of an interval: normal, or of Student's t where the error comes from groups."""
    above = 0.5 + level / 2
    return error * float(norm.ppf(above) if groups is None else t.ppf(above, _freedom(groups)))


def tail(value: float, error: float, groups: np.ndarray | None = None) -> float:
    """p-value of "it is zero" against "it is more", with the same distributions."""
    if error <= 0:
        return 0.0
    return float(norm.sf(value / error) if groups is None else t.sf(value / error, _freedom(groups)))


def _freedom(groups: np.ndarray) -> int:
    """Degrees of freedom among groups."""
    return max(int(np.count_nonzero(np.bincount(groups))) - 1, 1)
