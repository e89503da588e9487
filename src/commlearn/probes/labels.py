"""Sets of labels: logistic regression for each label, with thresholds chosen on validation records."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from commlearn.errors import DataError
from commlearn.probes import measures
from commlearn.probes.measures import Measure, measured
from commlearn.probes.readout_rows import held_out
from commlearn.probes.results import Groups, LabelsResult, Outcome
from commlearn.seeds import numpy_generator

STRENGTHS = tuple(10.0**power for power in range(-5, 3))  # C, the inverse of the squared L2 penalty
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
    truth = label_matrix(train_labels, names)
    if validation is None:
        generator = numpy_generator(seed, "probe validation")
        held = held_out(len(train), groups[0], HELD, generator)
        validation, train, truth = (train[held], truth[held]), train[~held], truth[~held]
    scaler = StandardScaler().fit(train)
    train, test, held_rows = (scaler.transform(rows) for rows in (train, test, validation[0]))
    held_truth = label_matrix(validation[1], names)
    tried = []
    for strength in STRENGTHS:
        shares = _shares(train, truth, [held_rows, test], strength)
        thresholds = np.array([best_threshold(shares[0][:, i], held_truth[:, i]) for i in range(len(names))])
        scores = measures.f1(
            shares[0] >= thresholds, held_truth, measures.equal_weights(len(held_truth)), weighted=True
        )
        tried.append((float(scores[0]), -strength, thresholds, shares[1]))
    _, strength, thresholds, best_shares = max(tried, key=lambda entry: entry[:2])
    sizes = (len(train), len(held_rows))
    return scored(
        best_shares, label_matrix(test_labels, names), names, thresholds, -strength, sizes, seed, groups[1]
    )


def scored(
    shares: np.ndarray,
    truth: np.ndarray,
    names: tuple[str, ...],
    thresholds: np.ndarray,
    strength: float,
    sizes: tuple[int, int],
    seed: int,
    groups: np.ndarray | None = None,
) -> Outcome:
    """Score predicted label probabilities, (records, labels), against the truth."""
    predicted = shares >= thresholds
    parts: dict[str, Measure] = {
        "weighted_f1": lambda weights: measures.f1(predicted, truth, weights, weighted=True),
        "macro_f1": lambda weights: measures.f1(predicted, truth, weights, weighted=False),
        "auroc": lambda weights: measures.mean_over_labels(measures.auroc, shares, truth, weights),
        "auprc": lambda weights: measures.mean_over_labels(measures.auprc, shares, truth, weights),
    }
    results = measured(parts, np.zeros(len(truth), dtype=np.int64), seed, groups)
    result = LabelsResult(
        weighted_f1=results["weighted_f1"][0],
        interval=results["weighted_f1"][1],
        macro_f1=results["macro_f1"][0],
        auroc=results["auroc"][0],
        auprc=results["auprc"][0],
        chance=float(
            measures.f1(np.ones_like(truth), truth, measures.equal_weights(len(truth)), weighted=True)[0]
        ),
        labels=names,
        thresholds=tuple(float(value) for value in thresholds),
        strength=strength,
        train_records=sizes[0],
        validation_records=sizes[1],
        test_records=len(truth),
        intervals={name: results[name][1] for name in ("macro_f1", "auroc", "auprc")},
    )
    return Outcome(result, truth.astype(np.int8), predicted.astype(np.int8), groups)


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
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=400, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, truth[:, label])
        for rows, values in zip(shares, others, strict=True):
            rows[:, label] = model.predict_proba(values)[:, 1]
    return shares
