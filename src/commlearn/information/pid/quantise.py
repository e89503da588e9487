"""Posteriors quantised into tables p(cell, y) that keep what a modality says, whatever its dimension."""

from __future__ import annotations

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial.distance import cdist

from commlearn.information.pid.marginals import Array

_MOST_VALUES = 800  # cells times classes: the program's equations grow with their square


def cell_count(records: int, classes: int) -> int:
    """Return the number of cells to use: about n^(1/3) + classes, fewer if there are many classes.

    Example:
        >>> cell_count(1000, 2), cell_count(2500, 50)
        (12, 16)
    """
    return min(round(records ** (1 / 3)) + classes, max(_MOST_VALUES // classes, 4))


def soft_cells(log_posterior: Array, cells: int) -> Array:
    """Return each record's weights on cells, (records, at most `cells`), computed from posteriors only.

    Two classes: cells of equal mass along the log odds, each record shared between its two nearest. More
    classes: k-means on the square roots of the posteriors, whose Euclidean distance is Hellinger's.
    """
    if log_posterior.shape[1] == 2:
        return _between_levels(log_posterior[:, 1], cells)
    roots = np.exp(log_posterior / 2)
    distinct = np.unique(roots.round(6), axis=0)
    if len(distinct) <= cells:
        centres = distinct
    else:
        centres, _ = kmeans2(roots, cells, minit="++", iter=30, rng=0)
    return _near_centres(roots, np.unique(centres, axis=0))


def _between_levels(score: Array, cells: int) -> Array:
    """Return linear weights on the two cells whose mean scores enclose the record's."""
    order = np.argsort(score, kind="stable")
    means = np.array([score[part].mean() for part in np.array_split(order, cells) if len(part)])
    levels = _distinct(means)
    if len(levels) == 1:
        return np.ones((len(score), 1))
    index = np.clip(np.searchsorted(levels, score) - 1, 0, len(levels) - 2)
    share = np.clip((score - levels[index]) / (levels[index + 1] - levels[index]), 0, 1)
    weights = np.zeros((len(score), len(levels)))
    rows = np.arange(len(score))
    weights[rows, index] = 1 - share
    weights[rows, index + 1] = share
    return weights


def _distinct(levels: Array) -> Array:
    levels = np.unique(levels)
    return levels[np.concatenate([[True], np.diff(levels) > 1e-9])]


def _near_centres(roots: Array, centres: Array) -> Array:
    distance = cdist(roots, centres, "sqeuclidean")
    spread = max(float(distance.min(axis=1).mean()), 1e-9)
    weights = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / spread)
    return weights / weights.sum(axis=1, keepdims=True)


def cell_table(
    members: Array, log_posterior: Array, labels: np.ndarray, prior: float, weights: Array | None = None
) -> Array:
    """Return p(cell, y) from label counts, each cell smoothed by `prior` records with its mean posterior."""
    classes = log_posterior.shape[1]
    members = members if weights is None else members * weights[:, None]
    counts = members.T @ np.eye(classes)[labels]  # (cells, classes)
    expected = members.T @ np.exp(log_posterior)
    mass = members.sum(axis=0)[:, None]
    occupied = mass[:, 0] > 0
    share = mass / (mass + prior)
    table = np.where(mass > 0, share * counts + (1 - share) * expected, 0.0)
    table[occupied] = _with_target(table[occupied], counts.sum(axis=0))
    return table


def _with_target(table: Array, target: Array) -> Array:
    """Scale the table alternately to the classes' counts and to the cells' masses."""
    mass = table.sum(axis=1, keepdims=True)
    for _ in range(50):
        table = table * (target / table.sum(axis=0))
        table = table * (mass / table.sum(axis=1, keepdims=True))
    table = table * (target / table.sum(axis=0))
    return table / table.sum()
