"""Readers: functions from blocks of features and some labelled rows to predictions of all other rows.

Every reader is fitted on the labelled rows only and chooses its settings in their folds. Labelled rows are
predicted by models fitted on the other folds, so that predictions of training rows may be scored.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor

from commlearn.comparison.answers.task import Labelled

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C, the inverse of the squared L2 penalty
FACTORS = (1 / 3, 3.0)  # factors that are tried on the scale of each block
LEADING = 64  # principal components that replace a wider block for readers that use distances or cuts
HIDDEN = 128  # width of the network's hidden layer
CUTS = 20  # features that each split of a tree may choose from, at least

Predict = Callable[[np.ndarray], np.ndarray]
"""Maps rows (rows, features) to predictions (rows, outputs)."""
Fit = Callable[[np.ndarray, np.ndarray], Predict]
"""Fits a `Predict` on labelled rows and their true values."""


class Block(NamedTuple):
    """One set of features, for the rows to fit on and for the rows to predict."""

    train: np.ndarray  # (rows, dim)
    test: np.ndarray  # (rows, dim)


class Reading(NamedTuple):
    """Predictions of one reader, (rows, outputs)."""

    train: np.ndarray  # by models that had not seen the row; NaN if there is none
    test: np.ndarray


def linear(blocks: Mapping[str, Block], labelled: Labelled) -> Reading:
    """Read with logistic or ridge regression; the penalty and each block's scale are chosen in the folds."""
    sort = labelled.task.sort
    parts = [_standardised(block) for block in blocks.values()]
    widths = np.array([part.train.shape[1] for part in parts])

    def evaluated(scales: np.ndarray, strength: float) -> tuple[float, np.ndarray, np.ndarray, float]:
        rows = _side_by_side([part.train[labelled.rows] for part in parts], scales)
        out_of_fold = _held_out(_fit_linear(sort, strength), rows, labelled)
        return labelled.mean_loss(out_of_fold), out_of_fold, scales, strength

    even = np.sqrt(widths.mean() / widths)
    starts = [np.ones(len(parts))] if np.allclose(even, 1) else [np.ones(len(parts)), even]
    entries = [evaluated(scales, strength) for scales in starts for strength in STRENGTHS]
    best = min(entries, key=lambda entry: entry[0])
    for index in range(len(parts) if len(parts) > 1 else 0):
        for factor in FACTORS:
            scales = best[2].copy()
            scales[index] *= factor
            best = min(best, evaluated(scales, best[3]), key=lambda entry: entry[0])
    _, out_of_fold, scales, strength = best
    train, test = (_side_by_side([part[side] for part in parts], scales) for side in (0, 1))
    return _reading(_fit_linear(sort, strength), train, test, labelled, out_of_fold)


def boosted(blocks: Mapping[str, Block], labelled: Labelled) -> Reading:
    """Read with gradient boosting of shallow trees; wide blocks are reduced to leading components."""
    return _read(partial(_fit_boosted, labelled.task.sort), blocks, labelled)


def network(blocks: Mapping[str, Block], labelled: Labelled) -> Reading:
    """Read with a network of one hidden layer, stopped early if there are enough labels."""
    joined = _joined([_standardised(block) for block in blocks.values()])
    return _reading(partial(_fit_network, labelled.task.sort), *joined, labelled)


def in_context(blocks: Mapping[str, Block], labelled: Labelled, classifier: Any, regressor: Any) -> Reading:
    """Read with a model pretrained on other tables, which takes the labelled rows as its context."""
    return _read(_by_estimators(labelled.task.sort, classifier, regressor), blocks, labelled)


def stacked(readings: Sequence[Reading], labelled: Labelled) -> Reading:
    """Late fusion: read linearly from the out-of-fold predictions of each modality's own reader."""
    log_odds = [Block(*(_log_odds(labelled.task.sort, side) for side in reading)) for reading in readings]
    return linear({str(index): block for index, block in enumerate(log_odds)}, labelled)


def components(blocks: Mapping[str, Block]) -> Block:
    """Return the leading principal components of all blocks, found on training rows without labels."""
    return _leading(_joined([_standardised(block) for block in blocks.values()]))


def _read(fit: Fit, blocks: Mapping[str, Block], labelled: Labelled) -> Reading:
    return _reading(fit, *_joined([_leading(block) for block in blocks.values()]), labelled)


def _reading(
    fit: Fit, train: np.ndarray, test: np.ndarray, labelled: Labelled, out_of_fold: np.ndarray | None = None
) -> Reading:
    """Predict labelled rows out of fold and all others with a model fitted on every labelled row."""
    rows = train[labelled.rows]
    predict = fit(rows, labelled.truth)
    predicted = np.full((len(train), labelled.truth.shape[1]), np.nan)
    predicted[labelled.rows] = _held_out(fit, rows, labelled) if out_of_fold is None else out_of_fold
    if len(labelled.rest):  # estimators refuse zero rows
        predicted[labelled.rest] = predict(train[labelled.rest])
    return Reading(predicted, predict(test))


def _held_out(fit: Fit, rows: np.ndarray, labelled: Labelled) -> np.ndarray:
    """Predict each labelled row with a model fitted on the other folds."""
    predicted = np.empty((len(rows), labelled.truth.shape[1]))
    for chosen, held in labelled.parts():
        predicted[held] = fit(rows[chosen], labelled.truth[chosen])(rows[held])
    return predicted


def _fit_linear(sort: str, strength: float) -> Fit:
    logistic = partial(LogisticRegression, C=strength, max_iter=200, tol=1e-3)
    return _by_estimators(sort, logistic, partial(Ridge, alpha=1 / strength), multi_output=True)


def _fit_boosted(sort: str, rows: np.ndarray, truth: np.ndarray) -> Predict:
    options = {
        "max_iter": 60,
        "max_leaf_nodes": 8,
        "max_features": float(np.clip(CUTS / rows.shape[1], 0.3, 1.0)),
        "max_bins": 63,
        "min_samples_leaf": int(np.clip(len(rows) // 10, 2, 20)),
        "early_stopping": False,
        "random_state": 0,
    }
    classifier = partial(HistGradientBoostingClassifier, **options)
    regressor = partial(HistGradientBoostingRegressor, **options)
    return _by_estimators(sort, classifier, regressor)(rows, truth)


def _fit_network(sort: str, rows: np.ndarray, truth: np.ndarray) -> Predict:
    counts = truth.sum(axis=0)
    enough_rows = len(rows) > 200 and (sort != "class" or counts[counts > 0].min() >= 10)
    options = {
        "hidden_layer_sizes": (HIDDEN,),
        "alpha": 0.01,
        "batch_size": min(64, len(rows)),
        "max_iter": int(np.clip(50_000 / len(rows), 60, 300)),
        "early_stopping": enough_rows and sort != "multilabel",
        "n_iter_no_change": 10,
        "random_state": 0,
    }
    classifier, regressor = partial(MLPClassifier, **options), partial(MLPRegressor, **options)
    return _by_estimators(sort, classifier, regressor, multi_output=True)(rows, truth)


def _by_estimators(sort: str, classifier: Any, regressor: Any, multi_output: bool = False) -> Fit:
    """Wrap scikit-learn estimators as a `Fit`: a model per label, and per number unless `multi_output`."""

    def fit_codes(rows: np.ndarray, codes: np.ndarray, outputs: int) -> Predict:
        present = np.unique(codes)
        if len(present) < 2:
            constant = np.eye(outputs)[present]
            return lambda others: np.repeat(constant, len(others), axis=0)
        model = _fitted(classifier(), rows, np.searchsorted(present, codes))

        def predict(others: np.ndarray) -> np.ndarray:
            shares = np.zeros((len(others), outputs))
            shares[:, present] = model.predict_proba(others)
            return shares

        return predict

    def fit(rows: np.ndarray, truth: np.ndarray) -> Predict:
        if sort == "class":
            return fit_codes(rows, truth.argmax(axis=1), truth.shape[1])
        if sort == "multilabel":
            predictors = [fit_codes(rows, column.astype(np.int64), 2) for column in truth.T]
            return lambda others: np.stack([predict(others)[:, 1] for predict in predictors], axis=1)
        if multi_output:
            model = _fitted(regressor(), rows, truth[:, 0] if truth.shape[1] == 1 else truth)
            return lambda others: np.asarray(model.predict(others)).reshape(len(others), -1)
        models = [_fitted(regressor(), rows, column) for column in truth.T]
        return lambda others: np.stack([estimator.predict(others) for estimator in models], axis=1)

    return fit


def _fitted(model: Any, rows: np.ndarray, truth: np.ndarray) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # enough steps to rank the settings
        return model.fit(rows, truth)


def _standardised(block: Block) -> Block:
    """Standardise each column by its mean and deviation over the training rows without NaN."""
    train = block.train[~np.isnan(block.train).any(axis=1)]
    centre, scale = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-9, scale, np.inf)
    return Block(*(((side - centre) / scale).astype(np.float32) for side in block))


def _side_by_side(parts: Sequence[np.ndarray], scales: np.ndarray) -> np.ndarray:
    scaled = [part * np.float32(scale) for part, scale in zip(parts, scales, strict=True)]
    return np.concatenate(scaled, axis=1)


def _joined(blocks: Sequence[Block]) -> Block:
    return Block(*(np.concatenate(sides, axis=1) for sides in zip(*blocks, strict=True)))


def _leading(block: Block) -> Block:
    """Reduce a block to its leading principal components if it is wider than `LEADING`."""
    if block.train.shape[1] <= LEADING:
        return block
    centre = block.train.mean(axis=0)
    centred = (block.train - centre).astype(np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :LEADING]
    return Block(*(((side - centre) @ axes).astype(np.float32) for side in block))


def _log_odds(sort: str, predicted: np.ndarray) -> np.ndarray:
    if sort == "number":
        return predicted
    logs = np.log(np.clip(predicted, 1e-4, 1))
    if sort == "class":
        return logs - logs.mean(axis=1, keepdims=True)
    return logs - np.log(np.clip(1 - predicted, 1e-4, 1))
