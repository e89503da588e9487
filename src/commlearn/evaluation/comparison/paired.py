"""How much better one member is than another: paired over test records and seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from commlearn.evaluation import measures
from commlearn.evaluation.bootstrap import DRAWS, draws, interval_of
from commlearn.seeds import numpy_generator

__all__ = ["Predictions", "difference", "seed_pairs", "values_of_draws"]

Predictions = dict[str, tuple[np.ndarray, np.ndarray]]
"""By target: truth and prediction of every test record."""


def values_of_draws(predictions: Predictions, sorts: Mapping[str, str]) -> np.ndarray:
    """The score of each bootstrap sample of the test records, in percent; several targets are averaged.

    The samples depend on the records alone, so that those of two members are the same ones.
    """
    each = []
    for target, (truth, predicted) in predictions.items():
        sort = sorts[target]
        groups = truth if sort == "class" else np.zeros(len(truth), dtype=np.int64)
        each.append(np.concatenate([_score(sort, truth, predicted, weights) for weights in draws(groups)]))
    return 100 * np.mean(each, axis=0)


def difference(
    own: Mapping[int, np.ndarray], other: Mapping[int, np.ndarray], pairs: Sequence[tuple[int, int]]
) -> tuple[float, float]:
    """95 % interval of own minus other, over draws of test records and of pairs of seeds.

    Args:
        own: by seed, the score of each draw.
        other: likewise.
        pairs: the seeds that are set against each other.
    """
    gaps = np.stack([own[one] - other[two] for one, two in pairs])  # (pairs, draws)
    chosen = numpy_generator(0, "comparison seeds").integers(len(pairs), size=(DRAWS, len(pairs)))
    return interval_of(gaps[chosen, np.arange(DRAWS)[:, None]].mean(axis=1))


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
