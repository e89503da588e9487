"""The linear expert: multinomial logistic regressions, one a fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from commlearn.information.experts.folds import Folds, Rows, side_by_side
from commlearn.information.pid.marginals import Array

LINEAR = (0.01, 1.0)  # inverse penalties of the linear family


@dataclass(frozen=True)
class Linear:
    """Weights of every fold, which read any pairing of modalities."""

    blocks: tuple[Array, ...]
    folds: Folds
    weights: Array  # (folds, features, classes)
    offsets: Array  # (folds, classes)

    def logits(self, rows: Rows) -> Array:
        features = side_by_side(self.blocks, rows)
        scores = np.empty((len(features), self.offsets.shape[1]))
        for fold, members in self.folds.members(rows):
            scores[members] = features[members] @ self.weights[fold] + self.offsets[fold]
        return scores


def fit_linear(blocks: tuple[Array, ...], labels: np.ndarray, folds: Folds, strength: float) -> Linear:
    """Fit on all folds but one, for each one left out."""
    features = np.concatenate(blocks, axis=1)
    classes = int(labels.max()) + 1
    weights = np.zeros((folds.count, features.shape[1], classes))
    offsets = np.zeros((folds.count, classes))
    for fold in range(folds.count):
        train = folds.of != fold
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(features[train], labels[train])
        if classes == 2:
            weights[fold, :, 1], offsets[fold, 1] = model.coef_[0], model.intercept_[0]
        else:
            weights[fold], offsets[fold] = model.coef_.T, model.intercept_
    return Linear(blocks, folds, weights, offsets)
