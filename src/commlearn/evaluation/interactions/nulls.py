"""What chance would give: labels shuffled, and modalities shuffled within each class.

The experts stay as they were fitted on other folds; only the held-out records are shuffled, within their
fold. Under the null hypothesis the held-out fold is as likely in any of these orders, so the rank of what was
seen among what is shuffled is a p-value, without fitting anything again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from commlearn.evaluation.interactions.folds import Folds
from commlearn.evaluation.interactions.posteriors import Posterior, Subset
from commlearn.evaluation.interactions.stacking import log_softmax
from commlearn.evaluation.marginals import Array
from commlearn.seeds import numpy_generator

__all__ = ["Combination", "combination_test", "label_test"]

_BITS = float(np.log(2))
_MOST = 4000  # records that are shuffled, of more a random part: each shuffle asks all experts anew
_ENOUGH = 15  # shuffles as good as what was seen after which none more are tried


@dataclass(frozen=True)
class Combination:
    """Does the combination matter beyond what independent modalities would say together?

    Attributes:
        p: how often modalities shuffled within classes suit the joint experts as well.
        independent: I(all; Y), in bits, if modalities were independent given the class.
    """

    p: float
    independent: float


def label_test(log: Array, labels: np.ndarray, folds: Folds, permutations: int, seed: int) -> float:
    """p-value of "the subset says nothing about the target": labels shuffled within folds."""
    draw = numpy_generator(seed, "interactions labels shuffled")
    rows = np.arange(len(labels))
    seen = log[rows, labels].mean()
    as_good = 0
    for _ in range(permutations):
        as_good += bool(log[rows, labels[_shuffled(folds.of, draw)]].mean() >= seen - 1e-12)
    return (1 + as_good) / (1 + permutations)


def combination_test(
    posteriors: Mapping[Subset, Posterior], names: Subset, labels: np.ndarray, permutations: int, seed: int
) -> Combination:
    """Shuffle all modalities but the first within class and fold: all marginals stay, the combination goes.

    Args:
        posteriors: of the single modalities and of all of them together.
        names: of the modalities.
        labels: 0, ..., classes - 1.
        permutations: how many; costly experts are asked once for each.
        seed: of the shuffles.
    """
    joint = posteriors[names]
    draw = numpy_generator(seed, "interactions modalities shuffled")
    rows = np.sort(draw.permutation(len(labels))[:_MOST])
    within = (joint.stack.folds.of * (labels.max() + 1) + labels)[rows]
    target = np.log(np.bincount(labels) / len(labels))
    labels = labels[rows]
    seen, said = joint.log[rows, labels].mean(), np.arange(len(rows))
    as_good, apart = 0, []
    for _ in range(permutations):
        if as_good == _ENOUGH:
            break
        paired = {name: rows[_shuffled(within, draw)] if place else rows for place, name in enumerate(names)}
        as_good += bool(joint.paired(paired)[said, labels].mean() >= seen - 1e-12)
        product = sum(posteriors[(name,)].log[paired[name]] for name in names)
        apart.append(log_softmax(product - (len(names) - 1) * target)[said, labels].mean())
    entropy = -float(np.exp(target) @ target)
    independent = (entropy + float(np.mean(apart))) / _BITS
    return Combination((1 + as_good) / (1 + len(apart)), max(independent, 0.0))


def _shuffled(within: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """A permutation of the records that moves none out of its part."""
    by_part = np.argsort(within, kind="stable")
    shuffled = np.lexsort((draw.random(len(within)), within))
    order = np.empty(len(within), dtype=np.intp)
    order[by_part] = shuffled
    return order
