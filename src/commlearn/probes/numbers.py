"""Numbers: ridge regression on frozen embeddings, with one or several outputs."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from commlearn.probes import measures
from commlearn.probes.measures import Measure, measured
from commlearn.probes.results import Groups, NumberResult, Outcome

STRENGTHS = np.logspace(-2, 4, 13)  # strengths of the squared L2 penalty
FOLDS = 5  # folds if groups have to be held out together


def read_numbers(
    train: np.ndarray,
    train_values: np.ndarray,
    test: np.ndarray,
    test_values: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """Probe numbers with ridge regression on standardised features.

    The outputs share one penalty, which is found on `train` only.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> read_numbers(rows[:100], rows[:100, 0], rows[100:], rows[100:, 0]).result.r2 > 0.9
        True
    """
    scaler = StandardScaler().fit(train)
    rows, folds = scaler.transform(train), None  # None: leave-one-out, for one decomposition
    if groups[0] is not None and len(np.unique(groups[0])) > 1:
        count = min(FOLDS, len(np.unique(groups[0])))
        folds = list(GroupKFold(count).split(rows, groups=groups[0]))
    model = RidgeCV(alphas=STRENGTHS, cv=folds).fit(rows, train_values)
    predicted = model.predict(scaler.transform(test))
    return scored(predicted, test_values, float(model.alpha_), len(train), seed, groups[1])


def scored(
    predicted: np.ndarray,
    values: np.ndarray,
    strength: float,
    train_records: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> Outcome:
    """Score predictions; R2 and MSE of several outputs are averaged over them."""
    predicted, values = _two_axes(predicted), _two_axes(values)
    parts: dict[str, Measure] = {
        "r2": lambda weights: measures.r2(predicted, values, weights).mean(axis=1),
        "mse": lambda weights: measures.squared_error(predicted, values, weights).mean(axis=1),
    }
    results = measured(parts, np.zeros(len(values), dtype=np.int64), seed, groups)
    ones = measures.equal_weights(len(values))
    explained, errors = (
        measures.r2(predicted, values, ones),
        measures.squared_error(predicted, values, ones),
    )
    outputs = [{"r2": float(r2), "mse": float(mse)} for r2, mse in zip(explained[0], errors[0], strict=True)]
    result = NumberResult(
        r2=results["r2"][0],
        interval=results["r2"][1],
        strength=strength,
        train_records=train_records,
        test_records=len(values),
        mse=results["mse"][0],
        intervals={"mse": results["mse"][1]},
        outputs=tuple(outputs) if values.shape[1] > 1 else (),
    )
    return Outcome(result, values, predicted, groups)


def _two_axes(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)  # (records, outputs)
