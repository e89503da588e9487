"""One calibrated posterior from several: a weighted product of experts, weights found on other folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from commlearn.evaluation.interactions.folds import Folds, Rows
from commlearn.evaluation.marginals import Array

__all__ = ["Stack", "fit_stack", "log_softmax"]

_LUCK = 10.0  # nats of a squared weight, per group of records that are all alike


@dataclass(frozen=True)
class Stack:
    """log p(y | x) = sum_e w_e log p_e(y | x) + b_y - normaliser, with weights and offsets of each fold."""

    folds: Folds
    weights: Array  # (folds, experts)
    offsets: Array  # (folds, classes)

    def combine(self, experts: Sequence[Array], rows: Rows) -> Array:
        found = np.empty_like(experts[0])
        for fold, mine in self.folds.members(rows):
            mixed = sum(w * expert[mine] for w, expert in zip(self.weights[fold], experts, strict=True))
            found[mine] = mixed + self.offsets[fold]
        return log_softmax(found)


def fit_stack(experts: Sequence[Array], labels: np.ndarray, folds: Folds) -> Stack:
    """Weights for each fold from the held-out predictions of all others: temperature scaling included.

    A penalty pulls weights softly towards equal ones. With groups it pulls them towards zero, and harder the
    more the records of a group are alike: some expert always suits what few groups happen to have in common.

    Args:
        experts: held-out log posteriors, (records, classes) each.
        labels: 0, ..., classes - 1.
        folds: who is held out when, and the groups.
    """
    stacked = np.stack(experts)  # (experts, records, classes)
    weights, offsets = [], []
    for fold in range(folds.count):
        rows = folds.of != fold
        seen, target = stacked[:, rows], labels[rows]
        if folds.groups is None:
            found = _fit(seen, target, 1 / len(experts), 1.0)
        else:
            found = _fit(seen, target, 0.0, _LUCK * _records_alike(seen, target, folds.groups[rows]))
        weights.append(found[: len(experts)])
        offsets.append(found[len(experts) :])
    return Stack(folds, np.stack(weights), np.stack(offsets))


def _records_alike(stacked: Array, labels: np.ndarray, groups: np.ndarray) -> float:
    """How many records say what one says: the variance of groups' sums in that of as many single records."""
    gains = stacked[:, np.arange(len(labels)), labels] - np.log(np.bincount(labels) / len(labels))[labels]
    gains -= gains.mean(axis=1, keepdims=True)
    sums = np.stack([np.bincount(groups, weights=gain) for gain in gains])
    ratios = (sums**2).sum(axis=1) / np.maximum((gains**2).sum(axis=1), 1e-12)
    return max(1.0, float(ratios.mean()))


def _fit(stacked: Array, labels: np.ndarray, weight: float, penalty: float) -> Array:
    """Weights and offsets; the squared distance of a weight from `weight` costs so many nats a unit."""
    count, records, classes = stacked.shape
    chosen = np.arange(records)
    target = stacked[:, chosen, labels].sum(axis=1)
    frequency = np.bincount(labels, minlength=classes)
    origin = np.concatenate([np.full(count, weight), np.zeros(classes)])
    pull = np.concatenate([np.full(count, penalty), np.full(classes, 0.1)])

    def loss(point: Array) -> tuple[float, Array]:
        logits = np.tensordot(point[:count], stacked, axes=1) + point[count:]
        top = logits.max(axis=1)
        chances = np.exp(logits - top[:, None])
        total = chances.sum(axis=1)
        chances /= total[:, None]
        away = point - origin
        value = (top + np.log(total)).sum() - point[:count] @ target - point[count:] @ frequency
        slope = np.concatenate(
            [np.einsum("erc,rc->e", stacked, chances) - target, chances.sum(axis=0) - frequency]
        )
        return float(value + pull @ away**2) / records, (slope + 2 * pull * away) / records

    bounds = [(0.0, None)] * count + [(None, None)] * classes
    return minimize(loss, origin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x


def log_softmax(logits: Array) -> Array:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
