"""Learning curves: the same estimates on fewer records, and what each modality adds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from commlearn.batch import all_but_one
from commlearn.information.estimate import Quantity, QuantityKey, measure
from commlearn.information.evidence import Logs, best_logs
from commlearn.information.experts.folds import half_width, make_folds, standard_error
from commlearn.information.experts.posteriors import Evidence
from commlearn.information.material import Settings
from commlearn.seeds import numpy_generator

_LEAST = 200  # fewest records in a half
_ONE_HALF = 4000  # number of records from which a single half is enough


@dataclass(frozen=True)
class Growth:
    """Change of a number over the last doubling of the records, measured on the same records."""

    bits: float  # estimate with all records minus that with half of them
    error: float  # standard error


@dataclass(frozen=True)
class Gain:
    """What one modality adds to all others, estimated from a given number of records."""

    records: int  # number of records
    bits: float  # I(all; Y) - I(all others; Y)
    bits_interval: tuple[float, float]  # interval of `bits`
    accuracy: float  # balanced accuracy of all minus that of all others, as a fraction
    accuracy_interval: tuple[float, float]  # interval of `accuracy`


@dataclass(frozen=True)
class Curve:
    """Every quantity, and the gain from each modality, at each number of records."""

    numbers: dict[QuantityKey, dict[int, float]]  # for each quantity, {records: bits}
    worth: dict[str, list[Gain]]  # for each modality, its gain at each number of records
    # Change of each quantity over the last doubling of the records; empty without halves. If the error falls
    # as 1 / records, the same amount is still missing.
    growth: dict[QuantityKey, Growth] = field(default_factory=dict)

    def extrapolated(self) -> dict[QuantityKey, float]:
        """Return 2 est(n) - est(n / 2), a second opinion noisier than the headline; empty without halves."""
        return {
            key: self.numbers[key][max(self.numbers[key])] + change.bits
            for key, change in self.growth.items()
        }


def learning_curve(evidence: Evidence, logs: Logs, settings: Settings) -> Curve:
    """Repeat the estimate on halves of the records (on one half if there are many), refitting everything.

    If `settings.curve` is False, the curve contains only the estimate on all records.
    """
    full = _point(evidence, logs, settings)
    chosen = _parts(evidence, settings) if settings.curve else []
    once = replace(settings, repeats=1)
    halves = [_point(half, best_logs(half, once)[0], settings) for _, half in chosen]
    records = len(evidence.labels)
    grouped = ({records // 2: halves} if halves else {}) | {records: [full]}
    numbers: dict[QuantityKey, dict[int, float]] = {key: {} for key in full.numbers}
    worth: dict[str, list[Gain]] = {name: [] for name in evidence.names}
    for size, points in grouped.items():
        for key, bits_at in numbers.items():
            bits_at[size] = float(np.mean([point.numbers[key].bits for point in points]))
        for name, gains in worth.items():
            gains.append(_mean_gain(size, [point.gains[name] for point in points]))
    return Curve(numbers, worth, _growth(full, halves, [rows for rows, _ in chosen], evidence.groups))


class _Point(NamedTuple):
    """All estimates on one set of records."""

    numbers: dict[QuantityKey, Quantity]
    gains: dict[str, Gain]


def _point(evidence: Evidence, logs: Logs, settings: Settings) -> _Point:
    measured = measure(logs, evidence.labels)
    labels, groups, names = evidence.labels, evidence.groups, measured.names
    weight = len(labels) / (np.bincount(labels)[labels] * len(np.unique(labels)))  # for balanced accuracy
    gains, ladder = {}, measured.ladder
    for name, rest in zip(names, all_but_one(names), strict=True):
        gain = ladder[names] - ladder[rest]
        correct = [(logs[subset].argmax(axis=1) == labels).astype(float) for subset in (names, rest)]
        hits = weight * (correct[0] - correct[1])
        accuracy = float(hits.mean())
        width, accuracy_width = (
            half_width(standard_error(shares, groups), settings.level, groups)
            for shares in (gain.shares, hits)
        )
        gains[name] = Gain(
            len(labels),
            gain.bits,
            (gain.bits - width, gain.bits + width),
            accuracy,
            (accuracy - accuracy_width, accuracy + accuracy_width),
        )
    return _Point(measured.numbers, gains)


def _mean_gain(size: int, gains: list[Gain]) -> Gain:
    """Return the mean over the parts of one size; intervals stay as wide as those of a single part."""
    rows = [(gain.bits, *gain.bits_interval, gain.accuracy, *gain.accuracy_interval) for gain in gains]
    bits, low, high, accuracy, accuracy_low, accuracy_high = np.mean(rows, axis=0).tolist()
    return Gain(size, bits, (low, high), accuracy, (accuracy_low, accuracy_high))


def _growth(
    full: _Point, halves: list[_Point], rows_of_halves: list[np.ndarray], groups: np.ndarray | None
) -> dict[QuantityKey, Growth]:
    """Return the mean difference between each record's shares with all records and with half of them."""
    if not halves:
        return {}
    rows, growth = np.concatenate(rows_of_halves), {}
    units = None if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    for key, number in full.numbers.items():
        change = number.shares[rows] - np.concatenate([half.numbers[key].shares for half in halves])
        growth[key] = Growth(float(change.mean()), standard_error(change, units))
    return growth


def _parts(evidence: Evidence, settings: Settings) -> list[tuple[np.ndarray, Evidence]]:
    """Return two halves (one if there are many records) with whole groups, if they have enough records."""
    draw = numpy_generator(settings.seed, "interactions learning curve")
    units = np.arange(len(evidence.labels)) if evidence.groups is None else evidence.groups
    if len(evidence.labels) < 2 * _LEAST:
        return []
    if evidence.groups is None:
        order = draw.permutation(len(units))
        order = order[np.argsort(evidence.labels[order], kind="stable")]  # sorted by class, to stratify
        half = np.empty(len(units), dtype=int)
        half[order] = np.arange(len(units)) % 2
    else:
        half = (draw.permutation(units.max() + 1) % 2)[units]
    parts = [np.flatnonzero(half == part) for part in range(2 if len(units) < _ONE_HALF else 1)]
    halves = [(rows, _choose(evidence, rows, settings.seed)) for rows in parts if _is_enough(evidence, rows)]
    return [(rows, half) for rows, half in halves if not len(half.folds.unlearnable_classes(half.labels))]


def _choose(evidence: Evidence, rows: np.ndarray, seed: int) -> Evidence:
    """Return the evidence of some of the records, divided into new folds."""
    labels, groups = evidence.labels[rows], evidence.groups
    groups = None if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    return Evidence(
        {name: block[rows] for name, block in evidence.blocks.items()},
        {name: columns[rows] for name, columns in evidence.columns.items()},
        {subset: block[rows] for subset, block in evidence.fused.items()},
        labels,
        make_folds(labels, groups, evidence.folds.count, seed),
        seed,
    )


def _is_enough(evidence: Evidence, rows: np.ndarray) -> bool:
    """Return whether every class has enough records, and whether there are enough groups."""
    counts = np.bincount(evidence.labels[rows], minlength=int(evidence.labels.max()) + 1)
    groups = len(rows) if evidence.groups is None else len(np.unique(evidence.groups[rows]))
    return bool(counts.min() >= 2 * evidence.folds.count and groups >= 2 * evidence.folds.count)
