"""How much better one member is than another: paired over test records and seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from commlearn.probes import measures
from commlearn.probes.bootstrap import DRAWS, draws, interval_of, widening
from commlearn.seeds import numpy_generator


class Prediction(NamedTuple):
    """Truth and prediction of every test record, and which records belong together."""

    truth: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray | None = None


Predictions = dict[str, Prediction]
"""By target."""


def values_of_draws(predictions: Predictions, sorts: Mapping[str, str]) -> np.ndarray:
    """The score of each bootstrap sample of the test records, in percent; several targets are averaged.

    The samples depend on the records alone, so that those of two members are the same ones.
    """
    each = []
    for target, (truth, predicted, groups) in predictions.items():
        blocks = draws(_strata(sorts[target], truth), groups=groups)
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw without any record of a class
            scores = [_score(sorts[target], truth, predicted, weights) for weights in blocks]
        each.append(np.concatenate(scores))
    return 100 * np.mean(each, axis=0)


def widening_of(predictions: Predictions, sorts: Mapping[str, str]) -> float:
    """By how much the draws spread too little, of the target with the fewest records or groups."""
    each = [widening(_strata(sorts[name], one.truth), one.groups) for name, one in predictions.items()]
    return max(each, default=1.0)


def _strata(sort: str, truth: np.ndarray) -> np.ndarray:
    return truth if sort == "class" else np.zeros(len(truth), dtype=np.int64)


def difference(
    own: Mapping[int, np.ndarray],
    other: Mapping[int, np.ndarray],
    pairs: Sequence[tuple[int, int]],
    centre: float = 0.0,
    factor: float = 1.0,
) -> tuple[float, float]:
    """95 % interval of own minus other, over draws of test records and of pairs of seeds.

    Args:
        own: by seed, the score of each draw.
        other: likewise.
        pairs: the seeds that are set against each other.
        centre: the difference on the records as they are.
        factor: by which the draws are spread about it.
    """
    gaps = np.stack([own[one] - other[two] for one, two in pairs])  # (pairs, draws)
    chosen = numpy_generator(0, "comparison seeds").integers(len(pairs), size=(DRAWS, len(pairs)))
    return interval_of(gaps[chosen, np.arange(DRAWS)[:, None]].mean(axis=1), centre, factor)


def seed_pairs(own: Collection[int], other: Collection[int]) -> list[tuple[int, int]]:
    """Equal seeds of both; where one has a single seed, it stands for every seed of the other.

    Example:
        >>> seed_pairs([0, 1, 2], [0, 2]), seed_pairs([0], [0, 1])
        ([(0, 0), (2, 2)], [(0, 0), (0, 1)])
    """
    shared = sorted(set(own) & set(other))
    if shared and min(len(own), len(other)) > 1:
        return [(seed, seed) for seed in shared]
    return [(one, two) for one in own for two in other]


def _score(sort: str, truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    if sort == "class":
        return measures.mean_recall(truth == predicted, truth, weights)
    if sort == "number":
        return measures.r2(predicted, truth, weights).mean(axis=1)
    return measures.f1(predicted.astype(bool), truth.astype(bool), weights, weighted=True)
