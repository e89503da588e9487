"""Checks whether rows that follow one another in a table are alike, as in a series over time.

A random split then puts each row's neighbours in time on the other side, and a readout recognises the moment
instead of predicting the target: scores on noise look certain.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from commlearn.probes.raw_columns import Array, all_columns, raw_arrays
from commlearn.records import Chosen, Column, Dataset, Records, class_codes, presence

_FEWEST_PAIRS = 50  # fewest pairs of rows that follow one another
_CLEAR = 5.0  # standard errors above chance from which rows that follow one another are alike
_ALIKE = 0.33  # share by which the next row of a class is nearer than one further down
_FURTHEST = 20  # most rows of the class between them
_AGAINST = 0.05  # share of rows in which a column that the table is sorted by may go the other way
_READ = 500  # consecutive rows whose modalities are read, at most
_BINS = 4  # quantile classes of a target that is a number
_DIVIDED = 0.05  # share of the rows to score that follow, or precede, a row to fit on in a random split


def split_signs(data: Dataset, keys: np.ndarray | None) -> tuple[str, ...]:
    """Return signs that a table may be a series over time that was split at random: modalities and targets.

    A column of groups, or one that names the parts, is taken to keep neighbours in time together.

    Args:
        data: parts of a table, each in the table's order.
        keys: keys of the rows to fit on; copies of a row share one.
    """
    schema, records = data.schema or {}, data.fit
    if not schema or schema.get("split") or records.groups is not None or not _divides_neighbours(data):
        return ()
    if keys is not None:  # copies of a row are not divided
        records = records.choose(np.sort(np.unique(keys, return_index=True)[1]))
    alike: dict[str, list[str]] = {}  # by modality: targets
    for name in records.targets:
        labels = _labels(records, name)
        rows = np.flatnonzero(labels >= 0)
        if is_serial(labels[rows], None) and (modality := _alike(records, rows, labels)):
            alike.setdefault(modality, []).append(name)
    return tuple(
        f"Rows that follow one another are alike in '{modality}' and in {', '.join(map(repr, names))}, as in "
        "a series over time: a random split puts neighbours in time into training and into test, and scores "
        "are then too high. If the table is such a series, give the schema a group column that numbers "
        "stretches of consecutive rows, longer than this likeness lasts."
        for modality, names in alike.items()
    )


def _divides_neighbours(data: Dataset) -> bool:
    """Whether rows to fit on and rows to score follow one another, or are not known to be of one table."""
    (table, fit), (other, test) = _places(data.fit), _places(data.test)
    if table is not other:
        return True
    following = np.isin(test, np.concatenate([fit - 1, fit + 1]))
    return bool(following.sum() > _DIVIDED * len(test))


def _places(records: Records) -> tuple[Column | None, np.ndarray]:
    """Return a column of the whole table, and the rows of these records in it."""
    column: Column | None = next(iter(records.columns.values()), None)
    rows = np.arange(len(records))
    while isinstance(column, Chosen):
        rows = column.rows[rows]
        column = column.column
    return column, rows


def _labels(records: Records, name: str) -> np.ndarray:
    """Return classes as numbers from 0, below 0 for none. Those of a number are quantiles; none if sorted."""
    values = records.targets[name]
    codes = records.classes.get(name)
    if codes is None and values.dtype == object:  # several labels
        codes = class_codes(np.array([None if each is None else str(each) for each in values], dtype=object))
    if codes is not None:
        return codes
    codes = np.full(len(values), -1)
    finite = np.isfinite(values) if values.ndim == 1 else np.zeros(len(values), dtype=bool)
    if finite.any() and _against(values[finite, None])[0] > _AGAINST * finite.sum():
        codes[finite] = pd.qcut(values[finite], _BINS, labels=False, duplicates="drop")
    return codes


def _alike(records: Records, rows: np.ndarray, labels: np.ndarray) -> str | None:
    """Return a modality that is alike in rows that follow one another; pictures and texts are read last."""
    slow = {name: spec.kind not in ("vector", "tabular") for name, spec in records.specs.items()}
    for name in sorted(slow, key=slow.__getitem__):
        own = rows[presence(records.columns[name], rows)]
        own = own[max(0, (len(own) - _READ) // 2) :][:_READ]
        if len(own) < _FEWEST_PAIRS:
            continue
        (values,) = raw_arrays(Records({name: records.choose(own).columns[name]})).values()
        columns = {name: all_columns(np.nan_to_num(values, posinf=0.0, neginf=0.0))}
        if serial_modality(columns, labels[own], None):
            return name
    return None


def is_serial(labels: np.ndarray, groups: np.ndarray | None) -> bool:
    """Whether the next row, of another group, has the same class clearly more often than any other row."""
    rows = np.arange(len(labels) - 1) if groups is None else np.flatnonzero(np.diff(groups))
    if len(rows) < _FEWEST_PAIRS:
        return False
    share = np.bincount(labels) / len(labels)
    chance = float(share @ share)
    same = float((labels[rows] == labels[rows + 1]).mean())
    return same - chance > _CLEAR * np.sqrt(chance * (1 - chance) / len(rows))


def serial_modality(
    columns: Mapping[str, Array], labels: np.ndarray, groups: np.ndarray | None
) -> str | None:
    """Return the modality in which the next row of the class is nearest, compared to one further down.

    In a table that is sorted by something they depend on, the next row is no nearer than that one.
    """
    row, following, further = _neighbours(labels, groups)
    likeness = {}
    for name, values in columns.items():
        values = values[:, ~_sorted_columns(values, labels)]
        if not values.shape[1] or len(row) < _FEWEST_PAIRS:
            continue
        near, far = (((values[row] - values[other]) ** 2).mean(axis=1) for other in (following, further))
        gain, error = float((far - near).mean()), float((far - near).std() / np.sqrt(len(row)))
        if gain > max(_ALIKE * float(far.mean()), _CLEAR * error):
            likeness[name] = gain / float(far.mean())
    return max(likeness, key=likeness.__getitem__) if likeness else None


def _neighbours(labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Return rows, the next of the class and one further down, (3, rows); both are of other groups."""
    parts = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        far = int(np.clip(len(members) // 20, 2, _FURTHEST))
        parts.append(np.stack([members[:-far], members[1 : len(members) - far + 1], members[far:]]))
    rows = np.concatenate(parts, axis=1)
    if groups is None:
        return rows
    return rows[:, (groups[rows[:1]] != groups[rows[1:]]).all(axis=0)]


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
