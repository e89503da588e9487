"""One calibrated posterior from several: a weighted product of experts, with weights from other folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from commlearn.information.experts.folds import Folds, Rows
from commlearn.information.experts.standard_errors import standard_error
from commlearn.information.pid.marginals import Array


@dataclass(frozen=True)
class Stack:
    """log p(y | x) = sum_e w_e log p_e(y | x) + b_y - normaliser, with weights and offsets of each fold."""

    folds: Folds
    weights: Array  # (folds, experts)
    offsets: Array  # (folds, classes)

    def combine(self, experts: Sequence[Array], rows: Rows) -> Array:
        logs = np.empty_like(experts[0])
        for fold, positions in self.folds.members(rows):
            mixed = sum(w * expert[positions] for w, expert in zip(self.weights[fold], experts, strict=True))
            logs[positions] = mixed + self.offsets[fold]
        return log_softmax(logs, axis=1)


def fit_stack(experts: Sequence[Array], labels: np.ndarray, folds: Folds) -> Stack:
    """Fit the weights of each fold, temperature included, on the held-out predictions of all other folds.

    Weights are pulled gently towards equal ones. Then all are shrunk according to how certainly they beat
    the class shares: with few records or groups, some expert always fits by chance.
    """
    stacked = np.stack(experts)  # (experts, records, classes)
    weights, offsets = [], []
    for fold in range(folds.count):
        rows = folds.of != fold
        groups = None if folds.groups is None else folds.groups[rows]
        point = _fit(stacked[:, rows], labels[rows])
        weight, offset = _shrunk(point, stacked[:, rows], labels[rows], groups)
        weights.append(weight)
        offsets.append(offset)
    return Stack(folds, np.stack(weights), np.stack(offsets))


def _shrunk(
    point: Array, stacked: Array, labels: np.ndarray, groups: np.ndarray | None
) -> tuple[Array, Array]:
    """Shrink towards the class shares by the positive-part James-Stein factor, 1 - 2 (error / gain)^2.

    The squared error is doubled because folds were learned from each other, as `nulls` explains.
    """
    weight, offset = point[: len(stacked)], point[len(stacked) :]
    log = log_softmax(np.tensordot(weight, stacked, axes=1) + offset, axis=1)
    log_share = np.log(np.maximum(np.bincount(labels, minlength=len(offset)) / len(labels), 1e-12))
    gains = (log - log_share)[np.arange(len(labels)), labels]
    gain, error = max(float(gains.mean()), 1e-12), standard_error(gains, groups)
    share = max(0.0, 1 - 2 * (error / gain) ** 2)
    return share * weight, share * offset + (1 - share) * log_share


def _fit(stacked: Array, labels: np.ndarray) -> Array:
    """Fit weights and offsets; each unit of a weight's squared distance from equal weights costs one nat."""
    count, records, classes = stacked.shape
    rows = np.arange(records)
    target = stacked[:, rows, labels].sum(axis=1)
    frequency = np.bincount(labels, minlength=classes)
    origin = np.concatenate([np.full(count, 1 / count), np.zeros(classes)])
    penalty = np.concatenate([np.full(count, 1.0), np.full(classes, 0.1)])

    def loss(point: Array) -> tuple[float, Array]:
        logits = np.tensordot(point[:count], stacked, axes=1) + point[count:]
        top = logits.max(axis=1)
        probabilities = np.exp(logits - top[:, None])
        total = probabilities.sum(axis=1)
        probabilities /= total[:, None]
        deviation = point - origin
        value = (top + np.log(total)).sum() - point[:count] @ target - point[count:] @ frequency
        slope = np.concatenate(
            [np.einsum("erc,rc->e", stacked, probabilities) - target, probabilities.sum(axis=0) - frequency]
        )
        return float(value + penalty @ deviation**2) / records, (slope + 2 * penalty * deviation) / records

    bounds = [(0.0, None)] * count + [(None, None)] * classes
    return minimize(loss, origin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
