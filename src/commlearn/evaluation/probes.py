"""Linear probes: what a logistic regression reads off frozen embeddings."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from commlearn.data.records import Dataset
from commlearn.data.tables import Source
from commlearn.errors import ConfigurationError, DataError, unknown
from commlearn.evaluation.embed import carrier, embed
from commlearn.seeds import numpy_generator

__all__ = ["NumberResult", "ProbeResult", "balanced_accuracy", "linear_probe", "number_probe", "probe"]

STRENGTHS = (1e-3, 1e-1, 1.0, 10.0, 100.0)  # C, the inverse of the squared L2 penalty
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
    dropped: int = 0  # records left out, as they have no label

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.balanced_accuracy:.1f} % balanced accuracy [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class NumberResult:
    """How well one number can be read."""

    r2: float  # share of the variance of the test records that is explained; 0 = their mean, 1 = all
    interval: tuple[float, float]  # 95 %, bootstrap over test records
    strength: float  # of the L2 penalty, found on the training records alone
    train_records: int
    test_records: int
    dropped: int = 0  # records left out, as they have no number

    def __str__(self) -> str:
        low, high = self.interval
        return f"R2 {self.r2:.3f} [{low:.3f}, {high:.3f}]"


def probe(
    model: Any,
    data: Dataset | Source,
    targets: Sequence[str] | str | None = None,
    modalities: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, ProbeResult | NumberResult]:
    """Linear probes of frozen, clean embeddings: fitted on training records, scored on test records.

    Args:
        model: a trained run, method or Embedder.
        data: where to fit and where to score; or a table, which is split as the training's was.
        targets: which; all classes and numbers if not given. Records without one are left out and counted.
        modalities: embed these only; all if not given.
        seed: of the folds and of the bootstrap.
    """
    if not isinstance(data, Dataset):
        data = _dataset(model, data)
    sorts = dict((data.schema or {}).get("targets") or {})
    chosen = _chosen(data.fit.targets, sorts, targets)
    if not len(data.test):
        raise DataError("There are no test records to score a probe on; the split has none.")
    fit, test = embed(model, data.fit, modalities), embed(model, data.test, modalities)
    return {
        name: _labelled(
            number_probe if sorts.get(name) == "number" else linear_probe,
            (fit, data.fit.targets[name]),
            (test, data.test.targets[name]),
            name,
            seed,
        )
        for name in chosen
    }


def _chosen(
    known: Mapping[str, np.ndarray], sorts: Mapping[str, str], targets: Sequence[str] | str | None
) -> list[str]:
    """The named targets, checked; all that a probe can read if none are named."""
    one_by_one = [name for name in known if sorts.get(name) != "multilabel"]
    chosen = [targets] if isinstance(targets, str) else list(one_by_one if targets is None else targets)
    for name in chosen:
        if name not in known:
            raise DataError(unknown("target", name, known))
        if name not in one_by_one:
            told = "a probe reads one class or number a record. Make a column for each label"
            raise DataError(f"target '{name}' is multilabel; {told}.")
    if not chosen:
        raise DataError("There is no target to probe. Name one under `targets:` in the schema.")
    return chosen


def _dataset(model: Any, table: Source) -> Dataset:
    reader = carrier(model)
    if not hasattr(reader, "dataset"):
        raise ConfigurationError(
            f"A {type(model).__name__} does not know how to read a table. Give a Dataset, or the run or the "
            "Embedder that it belongs to."
        )
    return reader.dataset(table)


def _labelled(
    measure: Callable[..., Any],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    name: str,
    seed: int,
) -> Any:
    """The measure on records that have the target."""
    kept, dropped = [], 0
    for what, (rows, labels) in (("training", train), ("test", test)):
        there = known_labels(labels)
        if not there.any():
            raise DataError(f"target '{name}': no {what} record has it; fill it, or split otherwise.")
        values = labels[there]
        kept += [rows[there], values.astype(str) if values.dtype == object else values]
        dropped += int((~there).sum())
    return replace(measure(*kept, seed), dropped=dropped)


def known_labels(labels: np.ndarray) -> np.ndarray:
    """Which records have a label: None and NaN are none.

    Example:
        >>> known_labels(np.array(["a", None], dtype=object)).tolist()
        [True, False]
    """
    if labels.dtype == object:
        return np.array([label is not None and label == label for label in labels], dtype=bool)
    return ~np.isnan(labels) if labels.dtype.kind == "f" else np.ones(len(labels), dtype=bool)


def number_probe(
    train: np.ndarray, train_values: np.ndarray, test: np.ndarray, test_values: np.ndarray, seed: int = 0
) -> NumberResult:
    """Ridge regression on standardised features, its penalty found on `train` alone.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 4))
        >>> number_probe(rows[:100], rows[:100, 0], rows[100:], rows[100:, 0]).r2 > 0.9
        True
    """
    scaler = StandardScaler().fit(train)
    model = RidgeCV(alphas=np.logspace(-2, 4, 13)).fit(scaler.transform(train), train_values)
    errors = (model.predict(scaler.transform(test)) - test_values) ** 2
    draws = numpy_generator(seed, "probe bootstrap").integers(len(test), size=(1000, len(test)))
    spread = [_r2(errors[rows], test_values[rows]) for rows in draws]
    low, high = np.quantile(spread, [0.025, 0.975])
    return NumberResult(
        r2=_r2(errors, test_values),
        interval=(float(low), float(high)),
        strength=float(model.alpha_),
        train_records=len(train),
        test_records=len(test),
    )


def _r2(squared_errors: np.ndarray, values: np.ndarray) -> float:
    return 1 - float(squared_errors.mean() / max(values.var(), 1e-12))


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


def to_json(results: Mapping[str, ProbeResult | NumberResult]) -> str:
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
    model = start or LogisticRegression(class_weight="balanced", max_iter=400, tol=1e-3, warm_start=True)
    model.set_params(C=strength)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 400 steps rank the strengths well enough
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
