"""Classes: logistic regression on frozen embeddings."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from commlearn.errors import DataError
from commlearn.probes import measures
from commlearn.probes.measures import Measure, measured
from commlearn.probes.results import Groups, Outcome, ProbeResult
from commlearn.seeds import numpy_generator

STRENGTHS = tuple(float(f"{10.0**power:.3g}") for power in np.arange(-5, 2.1, 0.5))
"""C, the inverse of the squared L2 penalty: from 1e-5 to 100, two per decade."""
FOLDS = 5
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
    return scored(shares, classes, test_labels, strength, len(train), seed, groups[1])


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


def scored(
    shares: np.ndarray,
    classes: np.ndarray,
    labels: np.ndarray,
    strength: float,
    train_records: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> Outcome:
    """Score predicted class probabilities, (records, classes), against the labels."""
    all_classes = np.unique(np.concatenate([classes, labels]))
    truth, predicted = (
        np.searchsorted(all_classes, labels),
        np.searchsorted(all_classes, classes[shares.argmax(axis=1)]),
    )
    correct = truth == predicted
    columns = slice(1, None) if len(classes) == 2 else slice(None)
    positive = labels[:, None] == classes[None, columns]  # (records, 1 or classes)
    parts: dict[str, Measure] = {
        "balanced_accuracy": lambda weights: measures.mean_recall(correct, truth, weights),
        "accuracy": lambda weights: measures.accuracy(correct, weights),
        "auroc": lambda weights: measures.mean_over_labels(
            measures.auroc, shares[:, columns], positive, weights
        ),
        "auprc": lambda weights: measures.mean_over_labels(
            measures.auprc, shares[:, columns], positive, weights
        ),
    }
    results = measured(parts, truth, seed, groups)
    result = ProbeResult(
        balanced_accuracy=results["balanced_accuracy"][0],
        interval=results["balanced_accuracy"][1],
        accuracy=results["accuracy"][0],
        chance=1 / len(classes),
        classes=len(classes),
        strength=strength,
        train_records=train_records,
        test_records=len(labels),
        auroc=results["auroc"][0],
        auprc=results["auprc"][0],
        intervals={name: results[name][1] for name in ("accuracy", "auroc", "auprc")},
    )
    return Outcome(result, truth, predicted, groups)


def balanced_accuracy(right: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over the classes of the share of their records predicted correctly.

    Example:
        >>> balanced_accuracy(np.array([True, True, True, False]), np.array([0, 0, 0, 1]))
        0.5
    """
    return float(measures.mean_recall(right, labels, measures.equal_weights(len(right)))[0])


def _search(rows: np.ndarray, labels: np.ndarray, seed: int, groups: np.ndarray | None) -> float:
    """Return the C with the best cross-validated balanced accuracy; ties go to the strongest penalty."""
    chosen, folds = _searched(labels, seed, groups)
    if folds < 2:
        return 1.0
    rows, labels = rows[chosen], np.unique(labels[chosen], return_inverse=True)[1]
    if groups is None:
        splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, labels)
    else:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        splits = splitter.split(rows, labels, groups[chosen])
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
    _, codes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    units = counts
    if groups is not None:
        units = np.array([len(np.unique(groups[order][codes == code])) for code in range(len(counts))])
    repeated = units > 1
    if repeated.sum() < 2:
        return order, 1
    folds = int(min(FOLDS, units[repeated].min()))
    rank = np.empty_like(order)  # rank of each row within its class
    for code in range(len(counts)):
        rank[codes == code] = np.arange(counts[code])
    chosen = (np.arange(len(order)) < SEARCH_ROWS) | (rank < folds)
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
