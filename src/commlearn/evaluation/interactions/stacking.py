"""One calibrated posterior from several: a weighted product of experts, weights found on other folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from commlearn.evaluation.interactions.folds import Folds, Rows
from commlearn.evaluation.marginals import Array

__all__ = ["Stack", "fit_stack", "log_softmax"]


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


def fit_stack(
    experts: Sequence[Array], start: np.ndarray, labels: np.ndarray, folds: Folds, penalty: float = 1.0
) -> Stack:
    """Weights for each fold from the held-out predictions of all others: temperature scaling included.

    Args:
        experts: held-out log posteriors, (records, classes) each.
        start: weights that the penalty pulls towards.
        labels: 0, ..., classes - 1.
        folds: who is held out when.
        penalty: of squared distance from the start, in nats a unit.
    """
    stacked = np.stack(experts)  # (experts, records, classes)
    weights, offsets = [], []
    for fold in range(folds.count):
        rows = folds.of != fold
        found = _fit(stacked[:, rows], start, labels[rows], penalty)
        weights.append(found[: len(experts)])
        offsets.append(found[len(experts) :])
    return Stack(folds, np.stack(weights), np.stack(offsets))


def _fit(stacked: Array, start: np.ndarray, labels: np.ndarray, penalty: float) -> Array:
    count, records, classes = stacked.shape
    chosen = np.arange(records)
    target = stacked[:, chosen, labels].sum(axis=1)
    frequency = np.bincount(labels, minlength=classes)
    origin = np.concatenate([start, np.zeros(classes)])
    pull = np.concatenate([np.full(count, penalty), np.full(classes, 0.1 * penalty)])

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
