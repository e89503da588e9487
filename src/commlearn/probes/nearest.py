"""Exact search for the most similar rows by cosine, for reports and search, and the probe that uses it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.preprocessing import StandardScaler

from commlearn.probes.linear import as_outputs, balanced_accuracy, classes_of, scored_classes, scored_numbers
from commlearn.probes.results import Groups, Outcome
from commlearn.seeds import numpy_generator

CELLS = 1 << 24  # products in memory at once
COUNTS = (1, 5, 20, 50)  # numbers of neighbours that are tried
SEARCH_ROWS = 2000  # training rows used as queries in the search, at most


def unit(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1, so that their products are cosines; rows of zeros stay zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def nearest(
    rows: np.ndarray, among: np.ndarray, count: int, apart: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and cosines of the most similar rows, (rows, count) each, the most similar first.

    Args:
        rows: queries, scaled to length 1.
        among: candidates, scaled to length 1; ties go to the earlier row.
        count: number of rows to find; all if there are fewer.
        apart: units of `rows` and of `among`; a row does not find candidates of its own unit.

    Example:
        >>> positions, cosines = nearest(np.eye(2), np.array([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]]), 2)
        >>> positions.tolist(), cosines.tolist()
        ([[2, 1], [0, 1]], [[1.0, 0.6], [1.0, 0.8]])
    """
    available = len(among)
    if apart is not None:
        available -= int(np.unique(apart[1], return_counts=True)[1].max(initial=0))
    count = min(count, available)
    positions = np.zeros((len(rows), count), dtype=np.int64)
    cosines = np.zeros((len(rows), count), dtype=np.result_type(rows, among))
    if not count:
        return positions, cosines
    block = int(np.clip(CELLS // len(among), 1, 1024))
    for start in range(0, len(rows), block):
        similar = rows[start : start + block] @ among.T  # (block, among)
        if apart is not None:
            similar[apart[0][start : start + block, None] == apart[1]] = -np.inf
        similar[np.isnan(similar)] = -np.inf  # from a network that diverged
        lowest = np.partition(similar, len(among) - count, axis=1)[:, len(among) - count]
        for row, (of_row, least) in enumerate(zip(similar, lowest, strict=True), start):
            candidates = np.flatnonzero(of_row >= least)
            positions[row] = candidates[np.argsort(-of_row[candidates], kind="stable")[:count]]
            cosines[row] = of_row[positions[row]]
    return positions, cosines


def neighbour_classes(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """Classify by votes of the most similar training records; their number is chosen on training records."""
    present_classes = classes_of(train_labels)
    votes = (train_labels[:, None] == present_classes).astype(np.float64)  # (records, classes)

    def loss(shares: np.ndarray, rows: np.ndarray) -> float:
        labels = train_labels[rows]
        return -balanced_accuracy(present_classes[shares.argmax(axis=1)] == labels, labels)

    shares, count = _predicted(train, votes, test, seed, loss, groups[0])
    return scored_classes(shares, present_classes, test_labels, float(count), len(train), seed, groups[1])


def neighbour_numbers(
    train: np.ndarray,
    train_values: np.ndarray,
    test: np.ndarray,
    test_values: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """Predict the mean of the most similar training records; their number is chosen on training records."""
    values = as_outputs(train_values)

    def loss(means: np.ndarray, rows: np.ndarray) -> float:
        return float(((means - values[rows]) ** 2).mean())

    means, count = _predicted(train, values, test, seed, loss, groups[0])
    return scored_numbers(means, test_values, float(count), len(train), seed, groups[1])


def _predicted(
    train: np.ndarray,
    values: np.ndarray,
    test: np.ndarray,
    seed: int,
    loss: Callable[[np.ndarray, np.ndarray], float],
    groups: np.ndarray | None,
) -> tuple[np.ndarray, int]:
    """Return the mean of the values of each test record's neighbours, by cosine, and their number.

    The number is the one with the least loss for training records, predicted from records outside their own
    group. Ties go to the smallest number.
    """
    scaler = StandardScaler().fit(train)
    train, test = unit(scaler.transform(train)), unit(scaler.transform(test))
    rows = numpy_generator(seed, "probe rows").permutation(len(train))[:SEARCH_ROWS]
    units = np.arange(len(train)) if groups is None else groups
    neighbours, _ = nearest(train[rows], train, max(COUNTS), apart=(units[rows], units))
    counts = [count for count in COUNTS if count <= neighbours.shape[1]]
    best = min(counts, key=lambda count: loss(_means(values, neighbours[:, :count]), rows), default=1)
    return _means(values, nearest(test, train, best)[0]), best


def _means(values: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return the mean of the neighbours' values, (records, outputs), without holding all values in memory."""
    total = np.zeros((len(neighbours), values.shape[1]))
    for positions in neighbours.T:
        total += values[positions]
    return total / neighbours.shape[1]
