"""Nearest neighbours: probes of the geometry of an embedding, without fitted weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.preprocessing import StandardScaler

from commlearn.probes import classes, numbers
from commlearn.probes.nearest import nearest, unit
from commlearn.probes.results import Groups, Outcome
from commlearn.seeds import numpy_generator

COUNTS = (1, 5, 20, 50)  # numbers of neighbours that are tried
SEARCH_ROWS = 2000  # training rows used as queries in the search, at most


def neighbour_classes(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """Classify by votes of the most similar training records; their number is chosen on training records."""
    present_classes = classes.classes_of(train_labels)
    votes = (train_labels[:, None] == present_classes).astype(np.float64)  # (records, classes)
    train, test = _rows(train, test)

    def loss(shares: np.ndarray, rows: np.ndarray) -> float:
        labels = train_labels[rows]
        return -classes.balanced_accuracy(present_classes[shares.argmax(axis=1)] == labels, labels)

    count = _search(train, votes, seed, loss, groups[0])
    shares = _means(votes, nearest(test, train, count)[0])
    return classes.scored(shares, present_classes, test_labels, float(count), len(train), seed, groups[1])


def neighbour_numbers(
    train: np.ndarray,
    train_values: np.ndarray,
    test: np.ndarray,
    test_values: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """Predict the mean of the most similar training records; their number is chosen on training records."""
    values = np.asarray(train_values, dtype=np.float64).reshape(len(train_values), -1)
    train, test = _rows(train, test)

    def loss(means: np.ndarray, rows: np.ndarray) -> float:
        return float(((means - values[rows]) ** 2).mean())

    count = _search(train, values, seed, loss, groups[0])
    means = _means(values, nearest(test, train, count)[0])
    return numbers.scored(means, test_values, float(count), len(train), seed, groups[1])


def _search(
    train: np.ndarray,
    values: np.ndarray,
    seed: int,
    loss: Callable[[np.ndarray, np.ndarray], float],
    groups: np.ndarray | None,
) -> int:
    """Return the number of neighbours, outside a record's own group, that is best for training records.

    Ties go to the smallest number.
    """
    rows = numpy_generator(seed, "probe rows").permutation(len(train))[:SEARCH_ROWS]
    units = np.arange(len(train)) if groups is None else groups
    neighbours, _ = nearest(train[rows], train, max(COUNTS), apart=(units[rows], units))
    counts = [count for count in COUNTS if count <= neighbours.shape[1]] or [1]
    if not neighbours.shape[1]:
        return 1
    return min(counts, key=lambda count: loss(_means(values, neighbours[:, :count]), rows))


def _means(values: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """Return the mean of the neighbours' values, (records, outputs), without holding all values in memory."""
    total = np.zeros((len(neighbours), values.shape[1]))
    for positions in neighbours.T:
        total += values[positions]
    return total / neighbours.shape[1]


def _rows(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise the rows and scale them to length 1, so that their products are cosines."""
    scaler = StandardScaler().fit(train)
    return unit(scaler.transform(train)), unit(scaler.transform(test))
