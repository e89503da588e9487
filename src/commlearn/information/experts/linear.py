"""The linear expert: multinomial logistic regressions, one a fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from commlearn.information.experts.folds import Expert, Folds
from commlearn.information.pid.marginals import Array

LINEAR = (0.01, 1.0)  # inverse penalties of the linear family


def fit_linear(blocks: Sequence[Array], labels: np.ndarray, folds: Folds, strength: float) -> Expert:
    """Fit on all folds but one, for each one left out."""
    features = np.concatenate(blocks, axis=1)
    return Expert(blocks, folds, [_fit(features[t], labels[t], strength) for t in folds.training()])


def _fit(features: Array, labels: np.ndarray, strength: float) -> Callable[[list[Array]], Array]:
    model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(features, labels)
    weights, offsets = model.coef_.T, model.intercept_
    if len(offsets) == 1:  # of two classes the log odds of the second
        weights, offsets = (
            np.stack([np.zeros_like(part), part], axis=-1) for part in (weights[:, 0], offsets[0])
        )
    weights = np.ascontiguousarray(weights)
    return lambda parts: np.concatenate(parts, axis=1) @ weights + offsets
