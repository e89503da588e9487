"""How far off a number may be: standard errors from influence functions and, near zero, from a bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy.stats import norm, t

from commlearn.evaluation.interactions.estimate import Measured, Quantity
from commlearn.evaluation.interactions.workers import workers
from commlearn.evaluation.marginals import Array
from commlearn.seeds import numpy_generator

__all__ = ["Known", "bootstrap", "half_width", "known", "resampled_weights", "standard_error", "tail"]

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Known:
    """A number of bits and how well it is known."""

    bits: float
    low: float
    high: float
    error: float  # standard error
    p: float | None = None  # of "it is zero", where tested

    def __str__(self) -> str:
        return f"{self.bits:.2f} bits [{self.low:.2f}, {self.high:.2f}]"


def standard_error(shares: Array, groups: np.ndarray | None = None) -> float:
    """Of the mean of the records' shares; m groups are m draws, so that m / (m - 1) corrects the variance."""
    centred = shares - shares.mean()
    if groups is None:
        return float(np.sqrt((centred**2).sum()) / len(shares))
    drawn = np.bincount(groups, weights=centred)
    return float(np.sqrt(_correction(groups) * (drawn**2).sum()) / len(shares))


def _correction(groups: np.ndarray) -> float:
    """Of the variance among groups, which is taken around their own mean."""
    count = int(groups.max()) + 1
    return count / max(count - 1, 1)


def half_width(error: float, level: float, groups: np.ndarray | None = None) -> float:
    """Of an interval: normal, or of Student's t where the error comes from few groups."""
    above = 0.5 + level / 2
    return error * float(norm.ppf(above) if groups is None else t.ppf(above, max(int(groups.max()), 1)))


def tail(value: float, error: float, groups: np.ndarray | None = None) -> float:
    """p-value of "it is zero" against "it is more", with the same distributions."""
    if error <= 0:
        return 0.0
    return float(norm.sf(value / error) if groups is None else t.sf(value / error, max(int(groups.max()), 1)))


def known(
    quantity: Quantity,
    level: float,
    draws: Array | None = None,
    groups: np.ndarray | None = None,
    bias: float = 0.0,
) -> Known:
    """A quantity with its interval.

    Args:
        quantity: the number and the records' shares.
        level: of the interval.
        draws: the same number in bootstrap resamplings.
        groups: of the records, 0, 1, ...
        bias: how much more data would add, as the learning curve says; the interval reaches towards it.
    """
    error = standard_error(quantity.shares, groups)
    if draws is not None and len(draws) > 1:
        correction = 1.0 if groups is None else _correction(groups) ** 0.5
        error = max(error, correction * float(np.std(draws, ddof=1)))
    wide = half_width(error, level, groups)
    low, high = quantity.bits - wide + min(bias, 0.0), quantity.bits + wide + max(bias, 0.0)
    return Known(quantity.bits, max(low, 0.0), max(high, 0.0), error)


def bootstrap(
    again: Callable[[Array], Measured],
    read: Callable[[Measured], Mapping[Name, float]],
    weights: Array,
) -> dict[Name, Array]:
    """Every number in every resampling; the experts stay as they are.

    Args:
        again: measures with weights of the records.
        read: the numbers of one measurement.
        weights: of each resampling, (resamplings, records).
    """
    with workers() as pool:
        rows = list(pool.map(lambda weight: read(again(weight)), weights))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def resampled_weights(records: int, count: int, seed: int, groups: np.ndarray | None = None) -> Array:
    """How often each record is drawn, whole groups together."""
    draw = numpy_generator(seed, "interactions bootstrap")
    units = records if groups is None else int(groups.max()) + 1
    drawn = draw.multinomial(units, np.full(units, 1 / units), size=count).astype(np.float64)
    return drawn if groups is None else drawn[:, groups]
