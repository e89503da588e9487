"""Linear probes: what a logistic regression reads off frozen embeddings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from commlearn.data.records import Dataset
from commlearn.errors import DataError, unknown
from commlearn.evaluation.embed import HasMethod, embed
from commlearn.methods.base import Method
from commlearn.seeds import numpy_generator

__all__ = ["ProbeResult", "balanced_accuracy", "linear_probe", "probe"]

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # C, the inverse of the squared L2 penalty
SEARCH_ROWS = 4000  # of the training rows, at most, in the search for C


@dataclass(frozen=True)
class ProbeResult:
    """How well one target can be read; shares, not percent."""

    balanced_accuracy: float  # mean of the recalls of all classes
    interval: tuple[float, float]  # 95 %, bootstrap over test records
    accuracy: float  # share of test records that are right
    chance: float  # balanced accuracy of a guess
    classes: int
    strength: float  # C, found on the training records alone
    train_records: int
    test_records: int

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.balanced_accuracy:.1f} % balanced accuracy [{100 * low:.1f}, {100 * high:.1f}]"


def probe(
    model: Method | HasMethod,
    data: Dataset,
    targets: Sequence[str] | None = None,
    modalities: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, ProbeResult]:
    """Linear probes of frozen, clean embeddings: fitted on training records, scored on test records.

    Args:
        model: a trained run or method.
        data: where to fit and where to score.
        targets: which; all if not given.
        modalities: embed these only; all if not given.
        seed: of the folds and of the bootstrap.
    """
    known = data.fit.targets
    chosen = list(known if targets is None else targets)
    for name in chosen:
        if name not in known:
            raise DataError(unknown("target", name, known))
    fit, test = embed(model, data.fit, modalities), embed(model, data.test, modalities)
    return {
        name: linear_probe(fit, data.fit.targets[name], test, data.test.targets[name], seed)
        for name in chosen
    }


def linear_probe(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, seed: int = 0
) -> ProbeResult:
    """Logistic regression on standardised features, classes weighted equally, C found on `train` alone.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> linear_probe(rows[:100], rows[:100, 0] > 0, rows[100:], rows[100:, 0] > 0).accuracy > 0.9
        True
    """
    classes, counts = np.unique(train_labels, return_counts=True)
    if len(classes) < 2:
        raise DataError(
            f"A probe needs at least two classes to tell apart; the training records show {classes!r}."
        )
    scaler = StandardScaler().fit(train)
    train, test = scaler.transform(train), scaler.transform(test)
    folds = int(min(3, counts.min()))
    strength = _search(train, train_labels, folds, seed) if folds > 1 else 1.0
    right = _fit(train, train_labels, strength).predict(test) == test_labels
    return ProbeResult(
        balanced_accuracy=balanced_accuracy(right, test_labels),
        interval=_interval(right, test_labels, seed),
        accuracy=float(right.mean()),
        chance=1 / len(classes),
        classes=len(classes),
        strength=strength,
        train_records=len(train),
        test_records=len(test),
    )


def balanced_accuracy(right: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of the share of their records that are right.

    Example:
        >>> balanced_accuracy(np.array([True, True, True, False]), np.array([0, 0, 0, 1]))
        0.5
    """
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def to_json(results: dict[str, ProbeResult]) -> str:
    return json.dumps({name: asdict(result) for name, result in results.items()}, indent=2) + "\n"


def _search(rows: np.ndarray, labels: np.ndarray, folds: int, seed: int) -> float:
    """The C of the best cross-validated balanced accuracy; the strongest penalty among equals."""
    order = numpy_generator(seed, "probe rows").permutation(len(rows))[:SEARCH_ROWS]
    rows, labels = rows[order], labels[order]
    scores = np.zeros(len(STRENGTHS))
    for fit, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(rows, labels):
        model = None
        for position, strength in enumerate(STRENGTHS):
            model = _fit(rows[fit], labels[fit], strength, start=model)
            right = model.predict(rows[held]) == labels[held]
            scores[position] += balanced_accuracy(right, labels[held])
    return STRENGTHS[int(scores.argmax())]


def _fit(
    rows: np.ndarray, labels: np.ndarray, strength: float, start: LogisticRegression | None = None
) -> LogisticRegression:
    model = start or LogisticRegression(class_weight="balanced", max_iter=300, tol=1e-3, warm_start=True)
    model.set_params(C=strength)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 steps rank the strengths well enough
        return model.fit(rows, labels)


def _interval(right: np.ndarray, labels: np.ndarray, seed: int, draws: int = 1000) -> tuple[float, float]:
    """95 % interval of balanced accuracy over bootstrap samples of the records, class by class."""
    generator = numpy_generator(seed, "probe bootstrap")
    recalls = []
    for label in np.unique(labels):
        hits, count = right[labels == label].sum(), (labels == label).sum()
        recalls.append(generator.binomial(count, hits / count, size=draws) / count)
    low, high = np.quantile(np.mean(recalls, axis=0), [0.025, 0.975])
    return float(low), float(high)
