"""Learning curves: the same estimates on fewer records, and what each modality adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from commlearn.information.estimate import Measured, QuantityKey, measure, quantities
from commlearn.information.evidence import Evidence, Logs, best_logs
from commlearn.information.experts.standard_errors import half_width, standard_error
from commlearn.information.settings import Settings
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


def learning_curve(evidence: Evidence, logs: Logs, measured: Measured, settings: Settings) -> Curve:
    """Repeat the estimate on halves of the records (on one half if there are many), refitting everything.

    If `settings.curve` is False, the curve contains only the estimate on all records.
    """
    full = _Point(np.arange(len(evidence.labels)), measured, _gains(evidence, logs, measured, settings))
    part_settings = replace(settings, repeats=1)
    parts = _parts(evidence, part_settings) if settings.curve else []
    halves = [_point(rows, part, part_settings) for rows, part in parts]
    records = len(evidence.labels)
    grouped = ({records // 2: halves} if halves else {}) | {records: [full]}
    return Curve(
        _numbers(grouped), _worth(grouped, evidence.names), _growth(measured, halves, evidence.groups)
    )


@dataclass(frozen=True)
class _Point:
    """All estimates on one set of records."""

    rows: np.ndarray
    measured: Measured
    gains: dict[str, Gain]


def _point(rows: np.ndarray, part: Evidence, settings: Settings) -> _Point:
    logs, _ = best_logs(part, settings)
    measured = measure(logs, part.labels)
    return _Point(rows, measured, _gains(part, logs, measured, settings))


def _growth(measured: Measured, halves: list[_Point], groups: np.ndarray | None) -> dict[QuantityKey, Growth]:
    """Return the mean difference between each record's shares with all records and with half of them."""
    if not halves:
        return {}
    rows = np.concatenate([half.rows for half in halves])
    half_numbers = [quantities(half.measured) for half in halves]
    units = None if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    growth = {}
    for key, number in quantities(measured).items():
        change = number.shares[rows] - np.concatenate([numbers[key].shares for numbers in half_numbers])
        growth[key] = Growth(float(change.mean()), standard_error(change, units))
    return growth


def _numbers(grouped: Mapping[int, list[_Point]]) -> dict[QuantityKey, dict[int, float]]:
    numbers: dict[QuantityKey, dict[int, float]] = {}
    for size, points in grouped.items():
        rows = [{key: value.bits for key, value in quantities(point.measured).items()} for point in points]
        for key in rows[0]:
            numbers.setdefault(key, {})[size] = float(np.mean([row[key] for row in rows]))
    return numbers


def _worth(grouped: Mapping[int, list[_Point]], names: tuple[str, ...]) -> dict[str, list[Gain]]:
    """Return gains averaged over the parts of one size; intervals stay as wide as those of a single part."""
    worth: dict[str, list[Gain]] = {}
    for size, points in grouped.items():
        for name in names:
            gains = [point.gains[name] for point in points]
            worth.setdefault(name, []).append(
                Gain(
                    size,
                    float(np.mean([gain.bits for gain in gains])),
                    _mean_interval([gain.bits_interval for gain in gains]),
                    float(np.mean([gain.accuracy for gain in gains])),
                    _mean_interval([gain.accuracy_interval for gain in gains]),
                )
            )
    return worth


def _mean_interval(intervals: list[tuple[float, float]]) -> tuple[float, float]:
    low, high = np.mean(intervals, axis=0)
    return float(low), float(high)


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
    parts = [np.flatnonzero(half == 0)]
    parts += [np.flatnonzero(half == 1)] if len(units) < _ONE_HALF else []
    candidates = [(rows, evidence.choose(rows, settings)) for rows in parts if _is_enough(evidence, rows)]
    return [(rows, part) for rows, part in candidates if not len(part.folds.unlearnable_classes(part.labels))]


def _is_enough(evidence: Evidence, rows: np.ndarray) -> bool:
    """Return whether every class has enough records, and whether there are enough groups."""
    counts = np.bincount(evidence.labels[rows], minlength=int(evidence.labels.max()) + 1)
    groups = len(rows) if evidence.groups is None else len(np.unique(evidence.groups[rows]))
    return bool(counts.min() >= 2 * evidence.folds.count and groups >= 2 * evidence.folds.count)


def _gains(evidence: Evidence, logs: Logs, measured: Measured, settings: Settings) -> dict[str, Gain]:
    labels, groups, names = evidence.labels, evidence.groups, measured.names
    weight = len(labels) / (np.bincount(labels)[labels] * len(np.unique(labels)))  # for balanced accuracy
    gains = {}
    for name in names:
        rest = tuple(other for other in names if other != name)
        gain = measured.ladder[names] - measured.ladder[rest]
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
    return gains
