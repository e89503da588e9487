"""Modalities as plain, comparable features: principal components, the same up to rotation and scale."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import randomized_svd

from commlearn.information.pid.marginals import Array

__all__ = ["components"]

_EXACT = 1000  # columns up to which the covariance is decomposed whole


def components(values: Array, most: int, seed: int = 0) -> Array:
    """Leading principal components, (records, at most `most`), their spread half equalised.

    Columns are standardised, so that units do not count; components keep the root of their standard
    deviation, so that directions in which records differ most still stand out. Labels are not looked at.
    """
    scale = values.std(axis=0)
    kept = scale > 1e-9 * max(float(np.abs(values).max()), 1e-300)
    if not kept.any():
        return np.zeros((len(values), 1))
    rows = (values[:, kept] - values[:, kept].mean(axis=0)) / scale[kept]
    if rows.shape[1] <= _EXACT:
        variance, directions = np.linalg.eigh(rows.T @ rows / len(rows))
        variance, directions = variance[::-1][:most], directions[:, ::-1][:, :most]
    else:
        _, singular, turned = randomized_svd(rows, min(most, *rows.shape), random_state=seed)
        variance, directions = singular**2 / len(rows), turned.T
    some = variance > 1e-6 * variance[0]
    found = rows @ directions[:, some] / variance[some] ** 0.25
    return found / np.sqrt((found**2).mean())
