"""What a probe found: shares, not percent; every figure with its 95 % interval over test records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from commlearn.storage.plain_json import json_text

Interval = tuple[float, float]
Groups = tuple[np.ndarray | None, np.ndarray | None]
"""Which records belong together, of those to fit on and of those to score; None where nothing says it."""


@dataclass(frozen=True)
class ProbeResult:
    """How well one class can be read."""

    balanced_accuracy: float  # mean of the recalls of all classes
    interval: Interval  # of the balanced accuracy
    accuracy: float  # share of test records that are right
    chance: float  # balanced accuracy of a guess
    classes: int
    strength: float  # C, or how many neighbours; found on the training records alone
    train_records: int
    test_records: int
    dropped: int = 0  # records left out, as they have no label
    auroc: float = float("nan")  # mean over classes, each against the rest
    auprc: float = float("nan")  # likewise; of two classes, that of the second
    intervals: dict[str, Interval] = field(default_factory=dict)  # of the other figures

    measure: ClassVar[str] = "balanced_accuracy"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.balanced_accuracy:.1f} % balanced accuracy [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class NumberResult:
    """How well one number, or several outputs together, can be read."""

    r2: float  # share of the variance of the test records that is explained; 0 = their mean, 1 = all
    interval: Interval  # of R2
    strength: float  # of the L2 penalty, or how many neighbours; found on the training records alone
    train_records: int
    test_records: int
    dropped: int = 0  # records left out, as they have no number
    mse: float = float("nan")  # mean squared error, in the target's own units
    intervals: dict[str, Interval] = field(default_factory=dict)  # of the other figures
    outputs: tuple[dict[str, float], ...] = ()  # R2 and MSE of each, where there are several

    measure: ClassVar[str] = "r2"
    chance: ClassVar[float] = 0.0  # R2 of a guess: the mean for every record

    def __str__(self) -> str:
        low, high = self.interval
        limits = f"{low:.3f}, {high:.3f}" if np.isfinite(low) else "no interval: too few rows or groups"
        return f"R2 {self.r2:.3f} [{limits}]"


@dataclass(frozen=True)
class LabelsResult:
    """How well a set of labels can be read."""

    weighted_f1: float  # mean over labels, weighted by how many test records have each
    interval: Interval  # of the weighted F1
    macro_f1: float  # plain mean over labels
    auroc: float  # mean over labels
    auprc: float  # likewise
    chance: float  # weighted F1 of a guess: all labels for every record
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]  # of each label's probability, chosen on validation records
    strength: float  # C, chosen on validation records
    train_records: int
    validation_records: int
    test_records: int
    dropped: int = 0  # records left out, as they have no labels at all
    intervals: dict[str, Interval] = field(default_factory=dict)  # of the other figures

    measure: ClassVar[str] = "weighted_f1"

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"weighted F1 {self.weighted_f1:.3f} [{low:.3f}, {high:.3f}], macro F1 {self.macro_f1:.3f}, "
            f"{len(self.labels)} labels"
        )


MEASURE_OF = {
    "class": ProbeResult.measure,
    "number": NumberResult.measure,
    "multilabel": LabelsResult.measure,
}
"""The figure that a target of each sort is summed up by."""

MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "r2": "R2",
    "weighted_f1": "weighted F1",
    "auroc": "AUROC",
}
"""What the figure is called that a result, or a target in a verdict, is summed up by."""


def score_of(result: Any) -> float:
    """The figure that a probe's interval belongs to."""
    return getattr(result, result.measure)


@dataclass(frozen=True)
class Outcome:
    """A result and the predictions behind it, for comparisons record by record."""

    result: Any
    truth: np.ndarray  # (records,) codes of classes, or (records, outputs) numbers or 0/1 labels
    predicted: np.ndarray  # likewise
    groups: np.ndarray | None = None  # (records,) which of them belong together


def to_json(results: Mapping[str, Any]) -> str:
    """The results by target; what could not be measured is null, as JSON has no NaN."""
    return json_text(results)
