"""Checks whether rows that follow one another in a table are alike, as in a series over time.

Folds of single records then put each record's neighbours in time on the other side, and experts recognise
the moment instead of predicting the target: two unrelated random walks look informative.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from commlearn.information.estimate import information_in
from commlearn.information.evidence import Evidence
from commlearn.information.experts.folds import Folds, fit_linear
from commlearn.information.experts.models import boosting, fit_reduced, screened_columns
from commlearn.information.experts.posteriors import ignore_convergence_warnings
from commlearn.information.pid.marginals import Array

_FEWEST_PAIRS = 50  # fewest pairs of rows that follow one another
_CLEAR = 5.0  # standard errors above chance from which rows that follow one another are alike
_ALIKE = 0.33  # share by which the next row of a class is nearer than one further down
_FURTHEST = 20  # most rows of the class between them
_AGAINST = 0.05  # share of rows in which a column that the table is sorted by may go the other way
_LOST = 0.05  # fewest bits lost to be worth a warning
_MOST = 0.2  # share of the bits lost above which the numbers cannot be trusted


def order_signs(evidence: Evidence, name: str) -> tuple[list[str], list[str]]:
    """Return warnings about a target and a modality that depend on the order of the rows: severe, others.

    A table that is sorted by class, or by one of its columns, is not a series: given the class, its other
    columns do not depend on the order.
    """
    modality = _serial_modality(evidence) if _is_serial(evidence) else None
    folds = None if modality is None else _stretches(evidence)
    if folds is None or len(folds.unlearnable_classes(evidence.labels)):
        return [], []
    before, after = _information(evidence, evidence.folds), _information(evidence, folds)
    if before - after < _LOST:
        return [], []
    sign = (
        f"rows that follow one another are alike in '{modality}' and in '{name}', as in a series over time: "
        f"of {before:.2f} bits that simple experts find, {after:.2f} remain if stretches of consecutive rows "
        "are held out together; pass groups= that number such stretches, longer than this likeness lasts"
    )
    return ([sign], []) if before - after > _MOST * before else ([], [sign])


def _pairs(evidence: Evidence) -> np.ndarray:
    """Return the rows whose next row is not of the same group."""
    groups = evidence.groups
    return np.arange(len(evidence.labels) - 1) if groups is None else np.flatnonzero(np.diff(groups))


def _is_serial(evidence: Evidence) -> bool:
    """Whether the next row has the same class clearly more often than any other row."""
    labels, rows = evidence.labels, _pairs(evidence)
    if len(rows) < _FEWEST_PAIRS:
        return False
    share = np.bincount(labels) / len(labels)
    chance = float(share @ share)
    same = float((labels[rows] == labels[rows + 1]).mean())
    return same - chance > _CLEAR * np.sqrt(chance * (1 - chance) / len(rows))


def _serial_modality(evidence: Evidence) -> str | None:
    """Return the modality in which the next row of the class is nearest, compared to one further down.

    In a table that is sorted by something they depend on, the next row is no nearer than that one.
    """
    row, following, further = _neighbours(evidence)
    likeness = {}
    for name, columns in evidence.columns.items():
        columns = columns[:, ~_sorted_columns(columns, evidence.labels)]
        if not columns.shape[1] or len(row) < _FEWEST_PAIRS:
            continue
        near, far = (((columns[row] - columns[other]) ** 2).mean(axis=1) for other in (following, further))
        gain, error = float((far - near).mean()), float((far - near).std() / np.sqrt(len(row)))
        if gain > max(_ALIKE * float(far.mean()), _CLEAR * error):
            likeness[name] = gain / float(far.mean())
    return max(likeness, key=likeness.__getitem__) if likeness else None


def _neighbours(evidence: Evidence) -> np.ndarray:
    """Return rows, the next of the class and one further down, (3, rows); both are of other groups."""
    parts = []
    for label in np.unique(evidence.labels):
        members = np.flatnonzero(evidence.labels == label)
        far = int(np.clip(len(members) // 20, 2, _FURTHEST))
        parts.append(np.stack([members[:-far], members[1 : len(members) - far + 1], members[far:]]))
    rows = np.concatenate(parts, axis=1)
    if evidence.groups is None:
        return rows
    return rows[:, (evidence.groups[rows[:1]] != evidence.groups[rows[1:]]).all(axis=0)]


def _sorted_columns(columns: Array, labels: np.ndarray) -> np.ndarray:
    """Return which columns the table is sorted by, as a whole or within each class.

    It may be sorted by others before, and indicators of a sorted column's values rise and fall once: columns
    that go almost only one way from row to row count as sorted. A smooth series goes both ways.
    """
    against = np.sum([_against(columns[labels == label]) for label in np.unique(labels)], axis=0)
    return np.minimum(against, _against(columns)) <= _AGAINST * len(labels)


def _against(columns: Array) -> np.ndarray:
    """Return in how many rows each column goes against the direction in which it mostly goes."""
    steps = np.sign(np.diff(columns, axis=0))
    return np.minimum((steps > 0).sum(axis=0), (steps < 0).sum(axis=0))


def _stretches(evidence: Evidence) -> Folds:
    """Return folds of consecutive records, or groups, of each class; all classes are in every fold."""
    labels, count = evidence.labels, evidence.folds.count
    unit = np.arange(len(labels)) if evidence.groups is None else evidence.groups
    place = np.bincount(unit, weights=np.arange(len(labels))) / np.bincount(unit)
    table = np.zeros((len(place), int(labels.max()) + 1))
    np.add.at(table, (unit, labels), 1)
    most = table.argmax(axis=1)  # class of most of a group's records
    fold = np.empty(len(place), dtype=np.intp)
    for label in np.unique(most):
        members = np.flatnonzero(most == label)
        members = members[np.argsort(place[members], kind="stable")]
        fold[members] = np.arange(len(members)) * count // len(members)
    return Folds(fold[unit], count, evidence.groups)


def _information(evidence: Evidence, folds: Folds) -> float:
    """Return the bits that the better of two simple experts finds, at least zero."""
    blocks, columns = tuple(evidence.blocks.values()), tuple(evidence.columns.values())
    with ignore_convergence_warnings():
        experts = [
            fit_linear(blocks, evidence.labels, folds, 0.1),
            fit_reduced(columns, evidence.labels, folds, screened_columns, boosting),
        ]
    logs = [log_softmax(expert.logits(folds.identity_rows(len(blocks))), axis=1) for expert in experts]
    return max(0.0, *(information_in(log, evidence.labels).bits for log in logs))
