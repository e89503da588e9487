"""Experts on a few directions of each modality, chosen with the labels: screened columns and pair directions.

Principal components ignore the labels: if only three of hundreds of columns matter, they lose the signal, and
if the product of two modalities matters, they rank directions by spread alone. Here every fold chooses from
its own training rows

    columns      by their F statistic, then by a linear SVM with the universal L1 penalty
    pairs        singular vectors of the cross-moments  E[(1{y = c} - p_c) x_1 x_2^T]: the trace that XOR,
                 products and "do these belong together" leave, whatever each modality says alone

and fits a model on the chosen directions and on the products of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from commlearn.information.experts.folds import Expert, Folds
from commlearn.information.pid.marginals import Array

Choice: TypeAlias = Callable[[Sequence[Array], np.ndarray], "Directions"]  # from training rows and labels

_SCREENED = 100  # columns that the L1 penalty chooses from
_SELECTION_ROWS, _PER_CLASS = 2000, 20  # records that suffice for choosing, and the least from each class
_TREES = 80  # trees of one boosting model, over all classes
_VISITS = 1_000_000  # largest product of trees and records, unless that leaves fewer than 8 rounds
_SOLVER = Lock()  # liblinear has one random generator for the whole process


@dataclass(frozen=True)
class Directions:
    """Directions of each modality that a model reads, the first `products` of them also as products."""

    weights: tuple[Array, ...]  # one per modality, (columns, directions)
    # Number of leading directions of the first two modalities whose products and squares are read too.
    products: int = 0

    def read(self, parts: Sequence[Array]) -> Array:
        """Return the features of records, given the columns of each modality."""
        features = [part @ weight for part, weight in zip(parts, self.weights, strict=True)]
        if self.products:
            first, second = (part[:, : self.products] for part in features[:2])
            features += [first**2, second**2, (first[:, :, None] * second[:, None]).reshape(len(first), -1)]
        return np.concatenate(features, axis=1)


def fit_reduced(
    columns: tuple[Array, ...],
    labels: np.ndarray,
    folds: Folds,
    choice: Choice,
    model: Callable[[int, int], Any],
) -> Expert:
    """Choose directions and fit a model on all folds but one, for each fold left out."""
    fitted = []
    for train in map(np.flatnonzero, folds.training()):
        parts = [part[train] for part in columns]
        directions = choice(parts, labels[train])
        classifier = model(len(train), int(labels.max()) + 1).fit(directions.read(parts), labels[train])
        fitted.append(partial(_log_probabilities, directions, classifier))
    return Expert(columns, folds, fitted)


def _log_probabilities(directions: Directions, model: Any, parts: Sequence[Array]) -> Array:
    return np.log(np.maximum(model.predict_proba(directions.read(parts)), 1e-6))


def logistic(records: int, classes: int) -> Any:
    return LogisticRegression(C=1.0, max_iter=200, tol=1e-3)


def boosting(records: int, classes: int) -> Any:
    trees = min(_TREES, _VISITS // records) // (1 if classes == 2 else classes)
    rounds = int(np.clip(trees, 8, 40))
    return HistGradientBoostingClassifier(
        learning_rate=0.15 if classes == 2 else 0.25,
        max_iter=rounds,
        max_leaf_nodes=8,
        min_samples_leaf=10,
        early_stopping=False,
        random_state=0,
    )


def screened_columns(parts: Sequence[Array], labels: np.ndarray, most: int = 16) -> Directions:
    """Return the columns of each modality that are most informative about the target."""
    return Directions(tuple(_screened(part, labels, most) for part in parts))


def _screened(part: Array, labels: np.ndarray, limit: int) -> Array:
    count = part.shape[1]
    if count <= limit:
        return np.eye(count)
    rows = _rows_to_choose_by(labels)
    part, labels = part[rows], labels[rows]
    varying = np.flatnonzero(np.ptp(part, axis=0) > 0)  # columns that vary in this fold
    if len(varying) <= limit:
        return np.eye(count)[:, varying if len(varying) else [0]]
    strength = np.nan_to_num(f_classif(part[:, varying], labels)[0])
    order = varying[np.argsort(-strength, kind="stable")[:_SCREENED]]
    penalty = 2 * np.sqrt(2 * len(part) * np.log(count))  # the largest slope that chance alone gives
    present = np.unique(labels)
    svc = LinearSVC(penalty="l1", dual=False, C=1 / penalty, max_iter=200, tol=1e-2, random_state=0)
    with _SOLVER:
        fits = [
            svc.fit(part[:, order], labels == label).coef_[0]
            for label in (present[:1] if len(present) == 2 else present)
        ]
    strength = np.abs(fits).max(axis=0)
    chosen = order[np.argsort(-strength, kind="stable")][: np.clip((strength > 0).sum(), 2, limit)]
    return np.eye(count)[:, chosen]


def _rows_to_choose_by(labels: np.ndarray) -> np.ndarray:
    """Return all records or, if there are many, evenly spaced ones of each class.

    Rows may be sorted, and classes may be rare.
    """
    if len(labels) <= _SELECTION_ROWS:
        return np.arange(len(labels))
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    chosen = []
    for rows in classes:
        count = min(len(rows), max(len(rows) * _SELECTION_ROWS // len(labels), _PER_CLASS))
        chosen.append(rows[np.arange(count) * len(rows) // count])
    return np.sort(np.concatenate(chosen))


def pair_directions(parts: Sequence[Array], labels: np.ndarray, rank: int) -> Directions:
    """Return the directions of two modalities whose products differ most between classes.

    They are scaled to unit standard deviation.
    """
    first, second = parts
    indicators = np.eye(int(labels.max()) + 1)[labels]
    indicators -= indicators.mean(axis=0)
    moments = np.stack(
        [(first * indicator[:, None]).T @ second for indicator in indicators.T]
    )  # (classes, columns, columns)
    bases = [
        np.linalg.svd(np.moveaxis(moments, axis, 0).reshape(moments.shape[axis], -1), full_matrices=False)[0]
        for axis in (1, 2)
    ]
    weights = tuple(
        basis[:, :rank] / ((part @ basis[:, :rank]).std(axis=0) + 1e-9)
        for part, basis in zip(parts, bases, strict=True)
    )
    return Directions(weights, rank)


def pair_starts(parts: Sequence[Array], labels: np.ndarray, rank: int) -> tuple[Array, ...]:
    """Return the weights of `pair_directions`, from which networks start."""
    return pair_directions(parts, labels, rank).weights
