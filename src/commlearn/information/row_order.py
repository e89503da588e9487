"""Checks how much information is lost if stretches of rows that follow one another stay together.

In a series over time, folds of single records put each record's neighbours in time on the other side, and
experts recognise the moment instead of predicting the target: two unrelated random walks look informative.
"""

from __future__ import annotations

import numpy as np

from commlearn.information.estimate import information_in
from commlearn.information.experts.folds import Folds, fit_linear
from commlearn.information.experts.models import boosting, fit_reduced, screened_columns
from commlearn.information.experts.posteriors import Evidence, ignore_convergence_warnings
from commlearn.probes.row_order import is_serial, serial_modality

_LOST = 0.05  # fewest bits lost to be worth a warning
_MOST = 0.2  # share of the bits lost above which the numbers cannot be trusted


def order_signs(evidence: Evidence, name: str) -> tuple[list[str], list[str]]:
    """Return warnings about a target and a modality that depend on the order of the rows: severe, others.

    A table that is sorted by class, or by one of its columns, is not a series: given the class, its other
    columns do not depend on the order.
    """
    labels, groups = evidence.labels, evidence.groups
    modality = serial_modality(evidence.columns, labels, groups) if is_serial(labels, groups) else None
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
    return max(0.0, *(information_in(expert.log(), evidence.labels).bits for expert in experts))
