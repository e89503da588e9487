"""Linear probes of frozen embeddings: logistic regression of classes and sets of labels, ridge of numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from commlearn.errors import DataError
from commlearn.probes.measures import (
    Measure,
    accuracy,
    auprc,
    auroc,
    equal_weights,
    f1,
    mean_over_labels,
    mean_r2,
    mean_recall,
    measured,
    r2,
    squared_error,
    strata_of,
)
from commlearn.probes.readout_rows import held_out
from commlearn.probes.results import Groups, LabelsResult, NumberResult, Outcome, ProbeResult
from commlearn.seeds import numpy_generator

STRENGTHS = tuple(float(f"{10.0**power:.3g}") for power in np.arange(-5, 2.1, 0.5))
"""C of classes, the inverse of the squared L2 penalty: from 1e-5 to 100, two per decade."""
FOLDS = 5  # folds of the search for C, and for a penalty of numbers if groups have to be held out together
SEARCH_ROWS = 4000  # training rows used in the search for C, plus a few of rare classes


def read_classes(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """Probe classes with logistic regression on standardised features; C is found on `train` only.

    Classes are weighted equally.

    Args:
        train: (records, features).
        train_labels: (records,).
        test: (records, features).
        test_labels: (records,).
        seed: seed of the folds and of the bootstrap.
        groups: groups of training and of test records, which folds and bootstrap keep together.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> read = read_classes(rows[:100], rows[:100, 0] > 0, rows[100:], rows[100:, 0] > 0)
        >>> read.result.accuracy > 0.9
        True
    """
    classes = classes_of(train_labels)
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    strength = _search(train, train_labels, seed, groups[0])
    shares = _fit(train, train_labels, strength).predict_proba(test)  # (records, classes)
    return scored_classes(shares, classes, test_labels, strength, len(train), seed, groups[1])


def classes_of(labels: np.ndarray) -> np.ndarray:
    """Return the classes that a probe can tell apart; raise an error if there are fewer than two."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError(
            "A probe needs at least two classes to distinguish. Classes in the training records: "
            f"{', '.join(map(str, classes)) or 'none'}. Choose another target, or split the data "
            "differently."
        )
    return classes


def scored_classes(
    shares: np.ndarray,
    classes: np.ndarray,
    labels: np.ndarray,
    strength: float,
    train_records: int,
    seed: int,
    groups: np.ndarray | None,
) -> Outcome:
    """Score predicted class probabilities, (records, classes), against the labels."""
    all_classes = np.unique(np.concatenate([classes, labels]))
    truth = np.searchsorted(all_classes, labels)
    predicted = np.searchsorted(all_classes, classes[shares.argmax(axis=1)])
    columns = slice(1, None) if len(classes) == 2 else slice(None)
    positive = labels[:, None] == classes[None, columns]  # (records, 1 or classes)
    parts: dict[str, Measure] = {
        "balanced_accuracy": partial(mean_recall, truth == predicted, truth),
        "accuracy": partial(accuracy, truth == predicted),
        "auroc": partial(mean_over_labels, auroc, shares[:, columns], positive),
        "auprc": partial(mean_over_labels, auprc, shares[:, columns], positive),
    }
    result = ProbeResult(
        **_figures(parts, truth, seed, groups),
        chance=float(np.isin(np.unique(labels), classes).mean()) / len(classes),
        classes=len(classes),
        strength=strength,
        train_records=train_records,
        test_records=len(labels),
    )
    return Outcome(result, truth, predicted, groups)


def _figures(
    parts: Mapping[str, Measure],
    strata: np.ndarray,
    seed: int,
    groups: np.ndarray | None,
    labels: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return a result's figures: each measure's value, the interval of the first, and those of the others."""
    results = measured(parts, strata, seed, groups, labels=labels)
    main, *others = results
    return {
        **{name: value for name, (value, _) in results.items()},
        "interval": results[main][1],
        "intervals": {name: results[name][1] for name in others},
    }


def balanced_accuracy(right: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over the classes of the share of their records predicted correctly.

    Example:
        >>> balanced_accuracy(np.array([True, True, True, False]), np.array([0, 0, 0, 1]))
        0.5
    """
    return float(mean_recall(right, labels, equal_weights(len(right)))[0])


def _search(rows: np.ndarray, labels: np.ndarray, seed: int, groups: np.ndarray | None) -> float:
    """Return the C with the best cross-validated balanced accuracy; ties go to the strongest penalty."""
    chosen, folds = _searched(labels, seed, groups)
    if folds < 2:
        return 1.0
    rows, labels = rows[chosen], np.unique(labels[chosen], return_inverse=True)[1]
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    splits = splitter(folds, shuffle=True, random_state=seed).split(
        rows, labels, None if groups is None else groups[chosen]
    )
    parts = [
        (rows[fit], labels[fit], rows[held], labels[held])
        for fit, held in splits
        if len(held) and len(np.unique(labels[fit])) > 1  # may fail with few groups
    ]
    models: list[LogisticRegression | None] = [None] * len(parts)
    best, best_score = 1.0, 0.0
    for strength in STRENGTHS:
        score = 0.0
        for index, (fit, fit_labels, held, held_labels) in enumerate(parts):
            model = models[index] = _fit(fit, fit_labels, strength, start=models[index])
            score += balanced_accuracy(model.predict(held) == held_labels, held_labels)
        if score > best_score:
            best, best_score = strength, score
        if best_score == len(parts):  # every record is predicted correctly
            break
    return best


def _searched(labels: np.ndarray, seed: int, groups: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Return rows for the search, enough to have every class in every fold, and the number of folds.

    Classes with a single record, or a single group, are left out.
    """
    order = numpy_generator(seed, "probe rows").permutation(len(labels))
    codes = np.unique(labels[order], return_inverse=True)[1]
    by_class = pd.Series(order if groups is None else groups[order]).groupby(codes)
    units = by_class.nunique().to_numpy()  # records or groups of each class
    repeated = units > 1
    if repeated.sum() < 2:
        return order, 1
    folds = int(min(FOLDS, units[repeated].min()))
    chosen = (np.arange(len(order)) < SEARCH_ROWS) | (by_class.cumcount().to_numpy() < folds)
    return order[chosen & repeated[codes]], folds


def _fit(
    rows: np.ndarray, labels: np.ndarray, strength: float, start: LogisticRegression | None = None
) -> LogisticRegression:
    model = start or LogisticRegression(max_iter=400, tol=1e-3, warm_start=True)
    model.set_params(C=strength)
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weights = (len(labels) / (len(counts) * counts))[codes]  # equal class weights, faster than sklearn's
    with warnings.catch_warnings(), config_context(assume_finite=True, skip_parameter_validation=True):
        warnings.simplefilter("ignore", ConvergenceWarning)  # 400 steps rank the strengths well enough
        return model.fit(rows, labels, weights)


PENALTIES = np.logspace(-2, 4, 13)  # strengths of the squared L2 penalty of numbers


def read_numbers(
    train: np.ndarray,
    train_values: np.ndarray,
    test: np.ndarray,
    test_values: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
) -> Outcome:
    """Probe one or several numbers with ridge regression on standardised features.

    The outputs share one penalty, which is found on `train` only.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> read_numbers(rows[:100], rows[:100, 0], rows[100:], rows[100:, 0]).result.r2 > 0.9
        True
    """
    scaler = StandardScaler().fit(train)
    rows, folds = scaler.transform(train), None  # None: leave-one-out, for one decomposition
    if groups[0] is not None and (count := len(np.unique(groups[0]))) > 1:
        folds = list(GroupKFold(min(FOLDS, count)).split(rows, groups=groups[0]))
    model = RidgeCV(alphas=PENALTIES, cv=folds).fit(rows, train_values)
    predicted = model.predict(scaler.transform(test))
    return scored_numbers(predicted, test_values, float(model.alpha_), len(train), seed, groups[1])


def scored_numbers(
    predicted: np.ndarray,
    values: np.ndarray,
    strength: float,
    train_records: int,
    seed: int,
    groups: np.ndarray | None,
) -> Outcome:
    """Score predictions; R2 and MSE of several outputs are averaged, R2 over those that vary."""
    predicted, values = as_outputs(predicted), as_outputs(values)
    parts: dict[str, Measure] = {
        "r2": lambda weights: mean_r2(predicted, values, weights),
        "mse": lambda weights: squared_error(predicted, values, weights).mean(axis=1),
    }
    figures = _figures(parts, strata_of("number", values), seed, groups)
    explained, errors = (
        measure(predicted, values, equal_weights(len(values)))[0].tolist() for measure in (r2, squared_error)
    )
    outputs = [{"r2": share, "mse": error} for share, error in zip(explained, errors, strict=True)]
    result = NumberResult(
        **figures,
        strength=strength,
        train_records=train_records,
        test_records=len(values),
        outputs=tuple(outputs) if values.shape[1] > 1 else (),
    )
    return Outcome(result, values, predicted, groups)


def as_outputs(values: np.ndarray) -> np.ndarray:
    """Return one or several numbers of each record as (records, outputs) float64."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


LABEL_STRENGTHS = tuple(10.0**power for power in range(-5, 3))  # C of sets of labels
HELD = 0.2  # share of the training records that is held out if there are no validation records


def read_labels(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    seed: int = 0,
    groups: Groups = (None, None),
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> Outcome:
    """Probe sets of labels with a logistic regression for each label on standardised features.

    C and the thresholds are chosen on validation records or, without any, on a held-out fifth of the
    training records.
    """
    names = label_names(train_labels)
    train_truth, truth = label_matrix(train_labels, names), label_matrix(test_labels, names)
    if validation is None:
        held = held_out(len(train), groups[0], HELD, numpy_generator(seed, "probe validation"))
        validation, train, train_truth = (train[held], train_truth[held]), train[~held], train_truth[~held]
    scaler = StandardScaler().fit(train)
    train, test, held_rows = (scaler.transform(rows) for rows in (train, test, validation[0]))
    held_truth = label_matrix(validation[1], names)
    tried = []
    for strength in LABEL_STRENGTHS:
        held_shares, shares = _shares(train, train_truth, [held_rows, test], strength)
        pairs = zip(held_shares.T, held_truth.T, strict=True)
        thresholds = np.array([best_threshold(*pair) for pair in pairs])
        score = f1(held_shares >= thresholds, held_truth, equal_weights(len(held_truth)), weighted=True)
        tried.append((float(score[0]), -strength, thresholds, shares))
    _, strength, thresholds, shares = max(tried, key=lambda entry: entry[:2])
    predicted = shares >= thresholds
    parts: dict[str, Measure] = {
        "weighted_f1": partial(f1, predicted, truth, weighted=True),
        "macro_f1": partial(f1, predicted, truth, weighted=False),
        "auroc": partial(mean_over_labels, auroc, shares, truth),
        "auprc": partial(mean_over_labels, auprc, shares, truth),
    }
    result = LabelsResult(
        **_figures(parts, strata_of("multilabel", truth), seed, groups[1], labels=truth),
        chance=float(f1(np.ones_like(truth), truth, equal_weights(len(truth)), weighted=True)[0]),
        labels=names,
        thresholds=tuple(thresholds.tolist()),
        strength=-strength,
        train_records=len(train),
        validation_records=len(held_rows),
        test_records=len(truth),
    )
    return Outcome(result, truth.astype(np.int8), predicted.astype(np.int8), groups[1])


def label_names(labels: np.ndarray) -> tuple[str, ...]:
    """Return the labels that occur in training records, sorted; the columns of a matrix are numbered."""
    if labels.ndim == 2:
        return tuple(str(column) for column in range(labels.shape[1]))
    names = sorted({str(label) for record in labels for label in record})
    if not names:
        raise DataError("A probe of labels needs at least one label; the training records have none.")
    return tuple(names)


def label_matrix(labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Return which record has which label, (records, labels) bool; labels not in `names` are left out.

    Example:
        >>> rows = np.empty(2, dtype=object)
        >>> rows[:] = [("war", "drama"), ()]
        >>> label_matrix(rows, ("drama", "war")).tolist()
        [[True, True], [False, False]]
    """
    if labels.ndim == 2:
        return labels.astype(bool)
    columns = {name: column for column, name in enumerate(names)}
    matrix = np.zeros((len(labels), len(names)), dtype=bool)
    for row, record in enumerate(labels):
        for label in record:
            if str(label) in columns:
                matrix[row, columns[str(label)]] = True
    return matrix


def best_threshold(shares: np.ndarray, truth: np.ndarray) -> float:
    """Return the threshold with the best F1 on these records; 0.5 if none of them has the label.

    Example:
        >>> best_threshold(np.array([0.1, 0.2, 0.3]), np.array([False, True, True]))
        0.2
    """
    if not truth.any():
        return 0.5
    order = np.argsort(-shares, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.append(np.diff(shares[order]) != 0, True)  # a threshold includes all records of equal share
    scores = np.where(last, 2 * hits / (np.arange(1, len(order) + 1) + truth.sum()), -1.0)
    return float(shares[order][scores.argmax()])


def _shares(
    train: np.ndarray, truth: np.ndarray, others: list[np.ndarray], strength: float
) -> list[np.ndarray]:
    """Fit each label and predict it for other records; if all or no records have it, predict its share."""
    shares = [np.empty((len(rows), truth.shape[1])) for rows in others]
    for label in range(truth.shape[1]):
        share = truth[:, label].mean()
        if share in (0.0, 1.0):
            for rows in shares:
                rows[:, label] = share
            continue
        model = _fit(train, truth[:, label], strength)
        for rows, values in zip(shares, others, strict=True):
            rows[:, label] = model.predict_proba(values)[:, 1]
    return shares
