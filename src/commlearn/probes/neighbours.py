"""Nearest neighbours: what the geometry of an embedding says, without fitting anything."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.preprocessing import StandardScaler

from commlearn.probes import classes, numbers
from commlearn.probes.nearest import nearest, unit
from commlearn.probes.results import Groups, Outcome
from commlearn.seeds import numpy_generator

COUNTS = (1, 5, 20, 50)  # of neighbours that are tried
SEARCH_ROWS = 2000  # of the training rows, at most, that are asked in the search


def neighbour_classes(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """The votes of the most similar training records; how many vote is found on training records alone."""
    classes_there = classes.classes_of(train_labels)
    votes = (train_labels[:, None] == classes_there).astype(np.float64)  # (records, classes)
    train, test = _rows(train, test)

    def loss(shares: np.ndarray, rows: np.ndarray) -> float:
        labels = train_labels[rows]
        return -classes.balanced_accuracy(classes_there[shares.argmax(axis=1)] == labels, labels)

    count = _search(train, votes, seed, loss, groups[0])
    shares = _means(votes, nearest(test, train, count)[0])
    return classes.scored(shares, classes_there, test_labels, float(count), len(train), seed, groups[1])


def neighbour_numbers(
    train: np.ndarray,
    train_values: np.ndarray,
    test: np.ndarray,
    test_values: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """The mean of the most similar training records."""
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
    """How many neighbours serve training records best, none of its own group; the fewest among equals."""
    rows = numpy_generator(seed, "probe rows").permutation(len(train))[:SEARCH_ROWS]
    units = np.arange(len(train)) if groups is None else groups
    others, _ = nearest(train[rows], train, max(COUNTS), apart=(units[rows], units))
    counts = [count for count in COUNTS if count <= others.shape[1]] or [1]
    if not others.shape[1]:
        return 1
    return min(counts, key=lambda count: loss(_means(values, others[:, :count]), rows))


def _means(values: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """The mean of the neighbours' values, (records, outputs), without all of them in memory at once."""
    total = np.zeros((len(neighbours), values.shape[1]))
    for places in neighbours.T:
        total += values[places]
    return total / neighbours.shape[1]


def _rows(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardised and brought to length 1: their products are cosines."""
    scaler = StandardScaler().fit(train)
    return unit(scaler.transform(train)), unit(scaler.transform(test))
