"""Standard errors, intervals and p-values of a mean over records, or over groups of them."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, t

from commlearn.information.pid.marginals import Array


def standard_error(shares: Array, groups: np.ndarray | None = None) -> float:
    """Return the standard error of the mean of the records' shares.

    With m groups there are only m draws, and m / (m - 1) corrects their variance.

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
    """Return the correction of the variance among groups, which is taken around their own mean."""
    return 1.0 if groups is None else 1 + 1 / _freedom(groups)


def half_width(error: float, level: float, groups: np.ndarray | None = None) -> float:
    """Return the half-width of an interval: normal, or Student's t if the error comes from groups."""
    quantile = 0.5 + level / 2
    return error * float(norm.ppf(quantile) if groups is None else t.ppf(quantile, _freedom(groups)))


def tail(value: float, error: float, groups: np.ndarray | None = None) -> float:
    """Return the p-value of "it is zero" against "it is more", with the distributions of `half_width`."""
    if error <= 0:
        return 0.0
    return float(norm.sf(value / error) if groups is None else t.sf(value / error, _freedom(groups)))


def _freedom(groups: np.ndarray) -> int:
    """Return the degrees of freedom among groups, at least one."""
    return max(int(np.count_nonzero(np.bincount(groups))) - 1, 1)
