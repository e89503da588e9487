"""Results of probes: figures as shares, not percent, each with its 95 % interval over test records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

Interval = tuple[float, float]
Groups = tuple[np.ndarray | None, np.ndarray | None]
"""Groups of the records to fit on and of those to score; None if no groups are known."""


@dataclass(frozen=True)
class ProbeResult:
    """How well a class target can be predicted."""

    balanced_accuracy: float  # mean of the recalls of all classes
    interval: Interval  # interval of the balanced accuracy
    accuracy: float  # share of test records predicted correctly
    chance: float  # balanced accuracy of a guess
    classes: int
    strength: float  # C, or the number of neighbours, chosen on the training records only
    train_records: int
    test_records: int
    dropped: int = 0  # records left out because they have no label
    auroc: float = float("nan")  # mean over classes, each against the rest; with two, of the second class
    auprc: float = float("nan")  # mean over classes, each against the rest; with two, of the second class
    intervals: dict[str, Interval] = field(default_factory=dict)  # intervals of the other figures

    measure: ClassVar[str] = "balanced_accuracy"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.balanced_accuracy:.1f} % balanced accuracy [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class NumberResult:
    """How well a number, or several outputs together, can be predicted; constant outputs have no R2."""

    r2: float  # explained share of the test records' variance; 0 = predicting their mean, 1 = perfect
    interval: Interval  # interval of R2
    strength: float  # strength of the L2 penalty, or number of neighbours, chosen on training records only
    train_records: int
    test_records: int
    dropped: int = 0  # records left out because they have no number
    mse: float = float("nan")  # mean squared error, in the target's units squared
    intervals: dict[str, Interval] = field(default_factory=dict)  # intervals of the other figures
    outputs: tuple[dict[str, float], ...] = ()  # R2 and MSE of each output, if there are several

    measure: ClassVar[str] = "r2"
    chance: ClassVar[float] = 0.0  # R2 of a guess: the mean for every record

    def __str__(self) -> str:
        low, high = self.interval
        limits = f"{low:.3f}, {high:.3f}" if np.isfinite(low) else "no interval: too few rows or groups"
        return f"R2 {self.r2:.3f} [{limits}]"


@dataclass(frozen=True)
class LabelsResult:
    """How well a set of labels can be predicted."""

    weighted_f1: float  # mean over labels, weighted by the number of test records with each
    interval: Interval  # interval of the weighted F1
    macro_f1: float  # plain mean over labels
    auroc: float  # mean over labels
    auprc: float  # mean over labels
    chance: float  # weighted F1 of a guess: all labels for every record
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]  # thresholds on each label's probability, chosen on validation records
    strength: float  # C, chosen on validation records
    train_records: int
    validation_records: int
    test_records: int
    dropped: int = 0  # records left out because their target is missing
    intervals: dict[str, Interval] = field(default_factory=dict)  # intervals of the other figures

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
"""The figure that summarises a target of each sort."""

MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "r2": "R2",
    "weighted_f1": "weighted F1",
    "auroc": "AUROC",
}
"""Display names of the figures that summarise a result, or a target in a verdict."""


def score_of(result: Any) -> float:
    """Return the figure that summarises a result, to which its `interval` belongs."""
    return getattr(result, result.measure)


@dataclass(frozen=True)
class Outcome:
    """A result and the predictions behind it, for comparisons record by record."""

    result: Any
    truth: np.ndarray  # (records,) codes of classes, or (records, outputs) numbers or 0/1 labels
    predicted: np.ndarray  # shaped like truth
    groups: np.ndarray | None = None  # group of each record: (records,), or (records, sides) for pairs
