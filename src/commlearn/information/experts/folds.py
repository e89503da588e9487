"""Folds of held-out records, experts fitted without each fold, their stacks, and errors of means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import norm, t
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from commlearn.information.pid.marginals import Array

Rows: TypeAlias = Sequence[np.ndarray]  # per modality, the record that each record takes its values from


@dataclass(frozen=True)
class Folds:
    """The fold in which each record is held out, and the groups, 0, 1, ..., that no fold divides."""

    of: np.ndarray  # (records,)
    count: int
    groups: np.ndarray | None = None

    def members(self, rows: Rows | None) -> list[np.ndarray]:
        """Return the positions of each fold's records; all modalities of a record must come from one fold."""
        fold_of = self.of if rows is None else self.of[rows[0]]
        return [np.flatnonzero(fold_of == fold) for fold in range(self.count)]

    def training(self) -> list[np.ndarray]:
        """Return which records each fold's experts learn from, (records,) bool each."""
        return [self.of != fold for fold in range(self.count)]

    def unlearnable_classes(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes that some fold's experts cannot learn, having no training records of them."""
        counts = [np.bincount(labels[train], minlength=labels.max() + 1) for train in self.training()]
        return np.flatnonzero(np.min(counts, axis=0) == 0)


def make_folds(labels: np.ndarray, groups: np.ndarray | None, count: int, seed: int) -> Folds:
    """Make folds with all classes in each, as far as keeping groups whole allows."""
    fold_of = np.zeros(len(labels), dtype=np.intp)
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    parts = splitter(count, shuffle=True, random_state=seed).split(labels, labels, groups)
    for fold, (_, held) in enumerate(parts):
        fold_of[held] = fold
    return Folds(fold_of, count, groups)


@dataclass(frozen=True)
class Expert:
    """Models fitted on all folds but one, for each fold left out; they accept any pairing of modalities."""

    blocks: Sequence[Array]  # features of each modality
    folds: Folds
    fitted: Sequence[Callable[[list[Array]], Array]]  # per fold: maps each modality's features to logits

    def log(self, rows: Rows | None = None) -> Array:
        """Return log p(y | x) of each record from the model fitted without its fold, (records, classes).

        Each record has its own values unless `rows` pairs others.
        """
        members = self.folds.members(rows)
        rows = rows or [np.arange(len(self.folds.of))] * len(self.blocks)
        parts = [
            model([block[row[positions]] for block, row in zip(self.blocks, rows, strict=True)])
            for model, positions in zip(self.fitted, members, strict=True)
            if len(positions)  # few groups of very different sizes may leave a fold without any
        ]
        logits = np.empty((len(rows[0]), parts[0].shape[1]))
        logits[np.concatenate(members)] = np.concatenate(parts)
        return log_softmax(logits, axis=1)


LINEAR = (0.01, 1.0)  # inverse penalties of the linear family


def fit_linear(blocks: Sequence[Array], labels: np.ndarray, folds: Folds, strength: float) -> Expert:
    """Fit a logistic regression on all folds but one, for each fold left out."""
    features = np.concatenate(blocks, axis=1)
    return Expert(blocks, folds, [_probe(features[t], labels[t], strength) for t in folds.training()])


def _probe(features: Array, labels: np.ndarray, strength: float) -> Callable[[list[Array]], Array]:
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(features, labels)
    weights, offsets = model.coef_.T, model.intercept_
    if len(offsets) == 1:  # with two classes, the model has only the log odds of the second
        weights, offsets = np.hstack([np.zeros_like(weights), weights]), np.append(0.0, offsets)
    weights = np.ascontiguousarray(weights)
    return lambda parts: np.concatenate(parts, axis=1) @ weights + offsets


@dataclass(frozen=True)
class Stack:
    """log p(y | x) = sum_e w_e log p_e(y | x) + b_y - normaliser, with weights and offsets of each fold."""

    folds: Folds
    weights: Array  # (folds, experts)
    offsets: Array  # (folds, classes)

    def combine(self, experts: Sequence[Array], rows: Rows | None = None) -> Array:
        logs = np.empty_like(experts[0])
        for fold, positions in enumerate(self.folds.members(rows)):
            mixed = sum(w * expert[positions] for w, expert in zip(self.weights[fold], experts, strict=True))
            logs[positions] = mixed + self.offsets[fold]
        return log_softmax(logs, axis=1)


def fit_stack(experts: Sequence[Array], labels: np.ndarray, folds: Folds) -> Stack:
    """Fit the weights of each fold, temperature included, on the held-out predictions of all other folds.

    Weights are pulled gently towards equal ones. Then all are shrunk according to how certainly they beat
    the class shares: with few records or groups, some expert always fits by chance.
    """
    stacked, groups = np.stack(experts), folds.groups  # (experts, records, classes)
    fitted = [
        _weigh(stacked[:, train], labels[train], None if groups is None else groups[train])
        for train in folds.training()
    ]
    weights, offsets = zip(*fitted, strict=True)
    return Stack(folds, np.stack(weights), np.stack(offsets))


def _weigh(stacked: Array, labels: np.ndarray, groups: np.ndarray | None) -> tuple[Array, Array]:
    """Fit weights and offsets; each unit of a weight's squared distance from equal weights costs one nat.

    They are shrunk towards the class shares by the positive-part James-Stein factor, 1 - 2 (error / gain)^2.
    The squared error is doubled because folds were learned from each other, as `nulls` explains.
    """
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
    point = minimize(loss, origin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}).x
    weight, offset = point[:count], point[count:]
    log = log_softmax(np.tensordot(weight, stacked, axes=1) + offset, axis=1)
    log_share = np.log(np.maximum(frequency / records, 1e-12))
    gains = (log - log_share)[rows, labels]
    gain, error = max(float(gains.mean()), 1e-12), standard_error(gains, groups)
    share = max(0.0, 1 - 2 * (error / gain) ** 2)
    return share * weight, share * offset + (1 - share) * log_share


def standard_error(shares: Array, groups: np.ndarray | None = None) -> float:
    """Return the standard error of the mean of the records' shares.

    With m groups there are only m draws, and m / (m - 1) corrects their variance.

    Example:
        >>> standard_error(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
        1.0
    """
    centred = shares - shares.mean()
    if groups is None:
        return float(np.sqrt((centred**2).sum()) / len(shares))
    sums = np.bincount(groups, weights=centred)
    return float(np.sqrt(correction(groups) * (sums**2).sum()) / len(shares))


def correction(groups: np.ndarray | None) -> float:
    """Return the correction of the variance among groups, which is taken around their own mean."""
    return 1.0 if groups is None else 1 + 1 / _freedom(groups)


def half_width(error: float, level: float, groups: np.ndarray | None = None) -> float:
    """Return the half-width of an interval: normal, or Student's t if the error comes from groups."""
    quantile = 0.5 + level / 2
    return error * float(norm.ppf(quantile) if groups is None else t.ppf(quantile, _freedom(groups)))


def tail(value: float, error: float, groups: np.ndarray | None = None) -> float:
    """Return the p-value of "it is zero" against "it is more", with the distributions of `half_width`."""
    if error <= 0:
        return 0.0
    return float(norm.sf(value / error) if groups is None else t.sf(value / error, _freedom(groups)))


def _freedom(groups: np.ndarray) -> int:
    """Return the degrees of freedom among groups, at least one."""
    return max(int(np.count_nonzero(np.bincount(groups))) - 1, 1)
