"""Do two modalities know of each other? A cheap test for rows that were shuffled against each other."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from commlearn.data.records import Column
from commlearn.kinds.arrays import presence
from commlearn.kinds.base import Problem
from commlearn.kinds.rows import spread
from commlearn.kinds.survey import features
from commlearn.seeds import numpy_generator

__all__ = ["shares_signal", "shuffled"]

ROWS = 2_000  # of the table, at most
FEWEST = 60  # rows with both modalities, at least: of fewer nothing is said
INPUTS, OUTPUTS = 32, 8  # principal components
SHUFFLES = 100  # a pair is cleared by beating all of them


def shuffled(columns: dict[str, Column]) -> list[Problem]:
    """A warning for each pair of modalities that show no sign of belonging together.

    Synergy and fine detail escape so cheap a test: it asks, it does not accuse.
    """
    there = {name: presence(column) for name, column in columns.items()}
    problems = []
    for first, second in combinations(columns, 2):
        rows = np.flatnonzero(there[first] & there[second])
        rows = rows[list(spread(len(rows), ROWS))]
        if len(rows) < FEWEST:
            continue
        if not shares_signal(features(columns[first], rows), features(columns[second], rows)):
            told = (
                f"no signal shared by {first} and {second} was found in {len(rows)} rows: are their rows "
                "shuffled against each other? If they matter only together, never mind"
            )
            problems.append(Problem(told, level="warning"))
    return problems


def shares_signal(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether one can be predicted from the other better than from any of 100 shuffles of its rows.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 5))
        >>> shares_signal(rows[:, :3], rows[:, 2:]), shares_signal(rows[:, :3], rows[::-1, 2:])
        (True, False)
    """
    return _predicts(first, second) or _predicts(second, first)


def _predicts(inputs: np.ndarray, outputs: np.ndarray) -> bool:
    """Held-out R2 of a ridge regression between principal components, against shuffled rows."""
    x, y = _components(inputs, INPUTS), _components(outputs, OUTPUTS)
    if not x.shape[1] or not y.shape[1]:
        return True  # constant: told elsewhere, and nothing to compare
    generator = numpy_generator(0, "shared signal")
    order = generator.permutation(len(x))
    fit, held = order[: len(x) // 2], order[len(x) // 2 :]
    gram = x[fit].T @ x[fit] + 0.1 * len(fit) * np.eye(x.shape[1])
    smoother = x[held] @ np.linalg.solve(gram, x[fit].T)  # (held, fit): predictions are this times y

    def score(y: np.ndarray) -> float:
        return -float(((y[held] - smoother @ y[fit]) ** 2).sum() / (y[held] ** 2).sum())

    best = max(score(y[generator.permutation(len(y))]) for _ in range(SHUFFLES))
    return score(y) > best


def _components(rows: np.ndarray, most: int) -> np.ndarray:
    """The first principal components of standardised features, each of variance 1."""
    scale = rows.std(axis=0)
    varied = scale > 1e-9
    rows = (rows[:, varied] - rows[:, varied].mean(axis=0)) / scale[varied]
    left, size, _ = np.linalg.svd(rows, full_matrices=False)
    kept = size[:most] > 1e-6 * max(size.max(initial=0), 1e-12)
    return left[:, :most][:, kept] * np.sqrt(len(rows))
