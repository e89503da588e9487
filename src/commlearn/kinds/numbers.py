"""Reading of cells that hold numbers, and the curve that brings a column of them to a common scale."""

from __future__ import annotations

import math
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
from pandas.api import types
from scipy.special import ndtr, ndtri

from commlearn.kinds.base import Cells, Problem
from commlearn.kinds.rows import brief, evenly_spaced, is_empty

MISSING_NUMBERS = (
    *("NA", "N/A", "n/a", "na", "<NA>", "#N/A", "#N/A N/A", "#NA", "NaN", "nan", "-NaN", "-nan"),
    *("NULL", "null", "None", "none", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
"""Words that programs write in place of a missing number. In columns of text they are ordinary words."""
LIMIT = 6.0  # the largest standardised number: six standard deviations
KNOTS = 33  # knots in the curve of a skewed column
SKEW, KURTOSIS = 1.5, 8.0  # beyond either (kurtosis above a Gaussian's), a column follows its quantiles
NUMBERS = (str, int, float, Decimal, np.number, np.bool_)  # types of cells that can hold a number
LARGEST = 1e150  # squares of larger numbers overflow
CHUNK = 8_192  # rows processed at once
QUARTILE_ROWS = 10_000  # most rows from which the quartiles of a column are computed
QUARTILE_RANGE = 1.349  # interquartile range of a Gaussian, in standard deviations
OUTLIERS = 0.01  # largest share of a column's numbers that can be outliers


def as_numbers(values: pd.Series) -> np.ndarray:
    """Return the cells as float64; NaN for cells that hold neither a number nor text of one."""
    if values.dtype == object:
        values = values.where([isinstance(cell, NUMBERS) for cell in values], None)
    try:
        numbers = pd.to_numeric(values, errors="coerce")
    except OverflowError:  # Python's whole numbers have no upper limit
        numbers = pd.to_numeric(values.map(_as_float), errors="coerce")
    result: np.ndarray = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    # an empty time would become the smallest whole number
    return np.where(values.isna(), np.nan, result) if values.dtype.kind in "mM" else result


def _as_float(cell: object) -> object:
    return (math.inf if cell > 0 else -math.inf) if isinstance(cell, int) and abs(cell) > LARGEST else cell


def numbers_of(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells as float64, NaN if empty, and which of them are not numbers."""
    if types.is_numeric_dtype(values) and not types.is_complex_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(values), dtype=bool)
    empty = values.isna().to_numpy(dtype=bool)
    if values.dtype.kind in "mMc" or empty.all():  # times and complex numbers, or nothing
        return np.full(len(values), np.nan), ~empty
    numbers = as_numbers(values)
    wrong = np.isnan(numbers) & ~empty
    # blanks are fine
    wrong[wrong] = [not (is_empty(cell) or is_missing_number(cell)) for cell in values[wrong]]
    return numbers, wrong


def is_missing_number(cell: object) -> bool:
    """Return whether a cell holds one of the words that stand for a missing number."""
    return isinstance(cell, str) and cell.strip() in MISSING_NUMBERS


def wrong_numbers(cells: Cells, values: pd.Series, numbers: np.ndarray, wrong: np.ndarray) -> list[Problem]:
    """Return a problem for each cell of a numeric column that is text, infinite or too large."""
    infinite = np.abs(numbers) > LARGEST
    problems = []
    for row in np.flatnonzero(wrong | infinite).tolist():
        value = brief(values.iloc[row], str)
        message = f"{value} is infinite or too large" if infinite[row] else f"{value!r} is not a number"
        message += "; give a number, or leave the cell empty"
        problems.append(Problem(message, str(values.name), cells.first_row + row))
    return problems


def learn_curve(numbers: np.ndarray) -> tuple[list[float], list[float]]:
    """Return knots and scores of a monotone curve to mean 0 and deviation 1; none if there is no number."""
    observed = numbers[~np.isnan(numbers)]
    if not len(observed):
        return [], []
    low, high = observed.min(), observed.max()
    if high - low <= max(1e-13 * max(abs(low), abs(high)), 1 / LARGEST):  # constant apart from rounding
        reach = LIMIT * max(1.0, abs(low) / 100)
        return [float(low - reach), float(high + reach)], [-LIMIT, LIMIT]
    if not _is_skewed(observed):
        mean, std = observed.mean(), observed.std()
        return [float(mean - LIMIT * std), float(mean + LIMIT * std)], [-LIMIT, LIMIT]
    end = ndtri(1 - 0.5 / len(observed))
    scores = np.linspace(-end, end, KNOTS)  # scores of a Gaussian
    quantiles = np.quantile(observed, ndtr(scores))
    quantiles[0], quantiles[-1] = low, high
    knots, index = np.unique(quantiles, return_inverse=True)
    scores = np.bincount(index, weights=scores) / np.bincount(index)  # ties share the mean of their scores
    observed_scores = np.interp(observed, knots, scores)
    scores = ((scores - observed_scores.mean()) / observed_scores.std()).clip(-LIMIT, LIMIT)
    return knots.tolist(), scores.tolist()


def apply_curve(numbers: np.ndarray, knots: list[float], scores: list[float]) -> np.ndarray:
    return np.interp(numbers, knots, scores) if knots else np.full(len(numbers), np.nan)


def _is_skewed(numbers: np.ndarray) -> bool:
    scaled = numbers / np.abs(numbers).max()  # so that powers of huge numbers do not overflow
    centred = scaled - scaled.mean()
    deviation = np.sqrt((centred**2).mean())
    if deviation == 0:
        return False
    standard = centred / deviation
    return bool(abs((standard**3).mean()) > SKEW or (standard**4).mean() - 3 > KURTOSIS)


def usual_range(values: np.ndarray, limit: float = LIMIT) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of each column beyond which a number is an outlier; NaN is a gap.

    An outlier is more than `limit` deviations, estimated from the quartiles, from the median. If more than a
    few numbers are, the column has heavy tails and no outliers, and its bounds are infinite.

    Example:
        >>> low, high = usual_range(np.append(np.arange(9.0), 9.97e36)[:, None])
        >>> bool(low < 0), bool(8 < high < 100)
        (True, True)
    """
    sample = values[list(evenly_spaced(len(values), QUARTILE_ROWS))].astype(np.float64)
    quantile = np.nanquantile if np.isnan(sample).any() else np.quantile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # if a column is all gaps
        lower, middle, upper = quantile(sample, (0.25, 0.5, 0.75), axis=0)
    reach = np.where(upper > lower, limit * (upper - lower) / QUARTILE_RANGE, np.inf)
    low, high = middle - reach, middle + reach
    outliers, count = np.zeros(len(low)), np.zeros(len(low))
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        outliers += outside(part, low, high).sum(axis=0)
        count += (~np.isnan(part)).sum(axis=0)
    heavy = outliers > np.maximum(1, OUTLIERS * count)
    return np.where(heavy, -np.inf, low), np.where(heavy, np.inf, high)


def outside(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return which values are outliers; a gap is not."""
    return (values < low) | (values > high)
