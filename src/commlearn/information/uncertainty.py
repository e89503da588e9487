"""How far off a number may be: standard errors from influence functions and, near zero, from a bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from commlearn.information.estimate import Measured, Quantity
from commlearn.information.experts.standard_errors import correction, half_width, standard_error
from commlearn.information.experts.workers import workers
from commlearn.information.pid.marginals import Array
from commlearn.seeds import numpy_generator

__all__ = ["Known", "bootstrap", "known", "resampled_weights"]

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
        error = max(error, correction(groups) ** 0.5 * float(np.std(draws, ddof=1)))
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
