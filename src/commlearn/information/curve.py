"""Learning curves: the same estimate on fewer records, and what each modality is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from commlearn.information.estimate import Measured, QuantityKey, measure, quantities
from commlearn.information.evidence import Evidence, Logs, best_logs
from commlearn.information.experts.standard_errors import half_width, standard_error
from commlearn.information.settings import Settings
from commlearn.seeds import numpy_generator

_LEAST = 200  # records of a part
_ONE_HALF = 4000  # records from which one half says enough


@dataclass(frozen=True)
class Growth:
    """What the last doubling of the records changed of a number, on the same records."""

    bits: float  # with all records less with half of them
    error: float  # standard error


@dataclass(frozen=True)
class Gain:
    """What one modality adds to all others, at one number of records."""

    records: int  # how many
    bits: float  # I(all; Y) - I(all others; Y)
    bits_interval: tuple[float, float]  # of the bits
    accuracy: float  # balanced accuracy of all less that of all others, a share
    accuracy_interval: tuple[float, float]  # of the accuracy


@dataclass(frozen=True)
class Curve:
    """The numbers at each number of records, and the worth of each modality."""

    numbers: dict[QuantityKey, dict[int, float]]  # quantity to {records: bits}
    worth: dict[str, list[Gain]]  # modality to its gain at each number of records
    # Of each number, what the last doubling of the records changed; empty without halves. Where an error
    # falls as 1 / records, as much is still missing.
    growth: dict[QuantityKey, Growth] = field(default_factory=dict)

    def extrapolated(self) -> dict[QuantityKey, float]:
        """2 est(n) - est(n / 2): a second opinion, noisier than the headline; empty without halves."""
        return {
            key: self.numbers[key][max(self.numbers[key])] + change.bits
            for key, change in self.growth.items()
        }


def learning_curve(evidence: Evidence, logs: Logs, measured: Measured, settings: Settings) -> Curve:
    """Estimate on halves, of many records on one of them, with everything fitted anew.

    Without `settings.curve` only all records are looked at.
    """
    whole = _Point(np.arange(len(evidence.labels)), measured, _gains(evidence, logs, measured, settings))
    once = replace(settings, repeats=1)
    parts = _parts(evidence, once) if settings.curve else []
    halves = [_point(rows, part, once) for rows, part in parts]
    records = len(evidence.labels)
    grouped = ({records // 2: halves} if halves else {}) | {records: [whole]}
    return Curve(
        _numbers(grouped), _worth(grouped, evidence.names), _growth(measured, halves, evidence.groups)
    )


@dataclass(frozen=True)
class _Point:
    """Everything anew on some records."""

    rows: np.ndarray
    measured: Measured
    gains: dict[str, Gain]


def _point(rows: np.ndarray, part: Evidence, settings: Settings) -> _Point:
    seen, _ = best_logs(part, settings)
    again = measure(seen, part.labels)
    return _Point(rows, again, _gains(part, seen, again, settings))


def _growth(measured: Measured, halves: list[_Point], groups: np.ndarray | None) -> dict[QuantityKey, Growth]:
    """Record by record, the share of each number with all records less that with half of them."""
    if not halves:
        return {}
    rows = np.concatenate([half.rows for half in halves])
    before = [quantities(half.measured) for half in halves]
    units = None if groups is None else np.unique(groups[rows], return_inverse=True)[1]
    growth = {}
    for key, number in quantities(measured).items():
        change = number.shares[rows] - np.concatenate([one[key].shares for one in before])
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
    """Gains, averaged over the parts of one size; the interval stays that of one part."""
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
    """Two halves, of many records one; whole groups, every class in each."""
    draw = numpy_generator(settings.seed, "interactions learning curve")
    units = np.arange(len(evidence.labels)) if evidence.groups is None else evidence.groups
    if len(evidence.labels) < 2 * _LEAST:
        return []
    if evidence.groups is None:
        order = draw.permutation(len(units))
        order = order[np.argsort(evidence.labels[order], kind="stable")]  # classes in turn: stratified
        share = np.empty(len(units), dtype=int)
        share[order] = np.arange(len(units)) % 2
    else:
        share = (draw.permutation(units.max() + 1) % 2)[units]
    parts = [np.flatnonzero(share == 0)]
    parts += [np.flatnonzero(share == 1)] if len(units) < _ONE_HALF else []
    enough = [(rows, evidence.choose(rows, settings)) for rows in parts if _is_enough(evidence, rows)]
    return [(rows, part) for rows, part in enough if not len(part.folds.unlearned(part.labels))]


def _is_enough(evidence: Evidence, rows: np.ndarray) -> bool:
    """Every class often enough, in enough groups."""
    counts = np.bincount(evidence.labels[rows], minlength=int(evidence.labels.max()) + 1)
    groups = len(rows) if evidence.groups is None else len(np.unique(evidence.groups[rows]))
    return bool(counts.min() >= 2 * evidence.folds.count and groups >= 2 * evidence.folds.count)


def _gains(evidence: Evidence, logs: Logs, measured: Measured, settings: Settings) -> dict[str, Gain]:
    labels, groups, names = evidence.labels, evidence.groups, measured.names
    weight = len(labels) / (np.bincount(labels)[labels] * len(np.unique(labels)))  # of balanced accuracy
    gains = {}
    for name in names:
        rest = tuple(other for other in names if other != name)
        gain = measured.ladder[names] - measured.ladder[rest]
        right = [(logs[subset].argmax(axis=1) == labels).astype(float) for subset in (names, rest)]
        hits = weight * (right[0] - right[1])
        accuracy = float(hits.mean())
        wide, wide_accuracy = (
            half_width(standard_error(shares, groups), settings.level, groups)
            for shares in (gain.shares, hits)
        )
        gains[name] = Gain(
            len(labels),
            gain.bits,
            (gain.bits - wide, gain.bits + wide),
            accuracy,
            (accuracy - wide_accuracy, accuracy + wide_accuracy),
        )
    return gains
