"""Modalities as plain, comparable features: principal components, the same up to rotation and scale."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import randomized_svd

from commlearn.information.pid.marginals import Array

__all__ = ["all_columns", "components", "with_codes"]

_EXACT = 1000  # columns up to which the covariance is decomposed whole
_MOST_CODES = 64  # values of a column up to which they may be names
_LEAST_OFTEN = 4  # records a value, on average, of a column of names
_MOST_COLUMNS = 8  # columns of names in one modality


def components(values: Array, most: int, seed: int = 0) -> Array:
    """Leading principal components, (records, at most `most`), their spread half equalised.

    Columns are standardised, so that units do not count; components keep the root of their standard
    deviation, so that directions in which records differ most still stand out. Labels are not looked at.
    """
    rows = all_columns(values)
    if not rows.any():
        return rows
    if rows.shape[1] <= _EXACT:
        variance, directions = np.linalg.eigh(rows.T @ rows / len(rows))
        variance, directions = variance[::-1][:most], directions[:, ::-1][:, :most]
    else:
        _, singular, turned = randomized_svd(rows, min(most, *rows.shape), random_state=seed)
        variance, directions = singular**2 / len(rows), turned.T
    some = variance > 1e-6 * variance[0]
    scaled = rows @ directions[:, some] / variance[some] ** 0.25
    return scaled / np.sqrt((scaled**2).mean())


def all_columns(values: Array) -> Array:
    """Every column that varies, standardised; one of zeros if none does."""
    scale = values.std(axis=0)
    varying = scale > 1e-9 * max(float(np.abs(values).max()), 1e-300)
    if not varying.any():
        return np.zeros((len(values), 1))
    return (values[:, varying] - values[:, varying].mean(axis=0)) / scale[varying]


def with_codes(values: Array) -> Array:
    """The columns, and a mark for each value of those whose few values may be names instead of amounts."""
    marks = []
    for column in values.T:
        names = np.unique(column[: 50 * _MOST_CODES])
        if 3 <= len(names) <= _MOST_CODES:
            names = np.unique(column)
            if 3 <= len(names) <= min(_MOST_CODES, len(column) // _LEAST_OFTEN):
                marks.append((column[:, None] == names).astype(float))
    if not 1 <= len(marks) <= _MOST_COLUMNS:
        return values
    return np.concatenate([values, *marks], axis=1)
