"""What a report is made from: modalities as arrays of the same records, and the target's classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError, Problems, unknown
from commlearn.information.pid.marginals import Array

FEW = 20  # records of a class below which its part of the result is guesswork
_MOST_CLASSES = 20  # distinct numbers above which a target counts as continuous
_BINS = 8
_MOST_CODES, _FEW_EACH = 200, 5  # values of a column of codes; records of each, on average


@dataclass(frozen=True)
class Target:
    """Labels 0, ..., classes - 1 of the records that have one."""

    name: str  # what the target is called
    labels: np.ndarray  # of the records that have one
    classes: tuple[str, ...]  # what each label stands for
    rows: np.ndarray  # positions of these records
    records: int  # how many there were
    numbers: np.ndarray | None = None  # the values behind the classes, if the target was continuous
    notes: tuple[str, ...] = field(default=())  # what was done to it
    warnings: tuple[str, ...] = field(default=())  # what makes the result less certain
    severe: tuple[str, ...] = field(default=())  # why the result cannot be trusted


def prepare_target(values: Any, name: str, bins: int | None, folds: int) -> Target:
    """Labels from classes, or from numbers by quantiles.

    None and NaN are left out and counted. Without `bins`, numbers of more than 20 values get 8 classes.

    Raises:
        DataError: fewer than two classes, or a class with fewer records than folds.
    """
    series = pd.Series(np.asarray(values)) if not isinstance(values, pd.Series) else values
    there = series.notna().to_numpy()
    if series.dtype == object:
        there &= np.array([str(value).strip() != "" for value in series])
    rows = np.flatnonzero(there)
    if not len(rows):
        raise DataError(f"target '{name}': none of its {len(series)} values is given; all are empty or NaN.")
    given = series.iloc[rows].reset_index(drop=True)
    warnings = []
    if len(rows) < len(series):
        warnings.append(
            f"{len(series) - len(rows)} of {len(series)} records have no '{name}' and were left out"
        )
    numbers, notes = None, []
    severe = [] if bins is not None else _perhaps_names(given, name)
    if bins is not None or _is_continuous(given):
        numbers = _numbers(given, name)
        codes, classes = _quantile_classes(numbers, bins or _BINS)
        notes.append(
            f"'{name}' is a number with {len(np.unique(numbers))} values; it was cut into {len(classes)} "
            f"classes of about equal size{'' if bins else ' (the default; choose with bins=)'}"
        )
    else:
        codes, distinct = pd.factorize(given, sort=True)
        classes = [_text(value) for value in distinct]
    warnings += _check_classes(codes, classes, name, folds)
    return Target(
        name,
        codes.astype(np.intp),
        tuple(classes),
        rows,
        len(series),
        numbers,
        tuple(notes),
        tuple(warnings),
        tuple(severe),
    )


def label_columns(values: Any) -> dict[str, np.ndarray] | None:
    """One 0/1 column a label, if the target is multi-label: a 2-D array or one collection of labels a record.

    Example:
        >>> label_columns([("a",), ("a", "b"), ()])["b"].tolist()
        [0, 1, 0]
    """
    if isinstance(values, pd.DataFrame):
        return {str(name): values[name].to_numpy() for name in values}
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.ndim == 2 and array.shape[1] > 1:
        return {str(place): array[:, place] for place in range(array.shape[1])}
    cells = list(values)
    if not any(isinstance(cell, list | tuple | set | frozenset) for cell in cells):
        return None
    labels = [None if cell is None else {str(label) for label in cell} for cell in cells]
    names = sorted(set().union(*filter(None, labels)))
    return {name: np.array([np.nan if own is None else int(name in own) for own in labels]) for name in names}


def _is_continuous(values: pd.Series) -> bool:
    if values.dtype.kind not in "iuf":
        return False
    distinct = values.nunique()
    if values.dtype.kind == "f" and not (values == values.round()).all():
        return bool(distinct > 2)
    return bool(distinct > _MOST_CLASSES)


def _perhaps_names(values: pd.Series, name: str) -> list[str]:
    """A doubt whether whole numbers of few values are amounts or codes of classes."""
    distinct = values.nunique()
    whole = values.dtype.kind in "iuf" and bool((values == values.round()).all())
    if not (whole and _MOST_CLASSES < distinct <= _MOST_CODES and distinct * _FEW_EACH <= len(values)):
        return []
    return [
        f"'{name}' has {distinct} whole values and was read as a number: if they are codes of classes, what "
        "is said is about groups of neighbouring codes; give codes as text, or state bins= if it is a number"
    ]


def _numbers(values: pd.Series, name: str) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise DataError(
            f"target '{name}' is to be cut into classes, but {values.iloc[wrong[0]]!r} is no finite number "
            f"({len(wrong)} such values). Mend them, leave these records out, or, if they are names of "
            "classes, ask without bins."
        )
    return numbers


def _quantile_classes(numbers: np.ndarray, bins: int) -> tuple[np.ndarray, list[str]]:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1]))
    codes = np.searchsorted(edges, numbers, side="right")
    present, codes = np.unique(codes, return_inverse=True)
    bounds = [-np.inf, *edges, np.inf]
    return codes, [f"{bounds[code]:.4g} to {bounds[code + 1]:.4g}" for code in present]


def _check_classes(codes: np.ndarray, classes: list[str], name: str, folds: int) -> list[str]:
    if len(classes) < 2:
        raise DataError(
            f"target '{name}' has one class, '{classes[0]}', in all {len(codes)} records: there is nothing "
            "to know about it. Give records of at least two classes."
        )
    problems, warnings = Problems(f"target '{name}'"), []
    for label, count in enumerate(np.bincount(codes)):
        if count < folds:
            problems.add(
                f"class '{classes[label]}' has {count} records; each needs at least {folds}, one a fold. "
                "Merge it with another class or leave its records out."
            )
        elif count < FEW:
            warnings.append(
                f"class '{classes[label]}' has only {count} records (fewer than {FEW}): what is said about "
                "it is guesswork"
            )
    problems.raise_if_any(DataError)
    return warnings


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


MOST_MODALITIES = 5  # of which all subsets are looked at; of more, each pair


@dataclass(frozen=True)
class Material:
    """Modalities of the same records."""

    arrays: dict[str, Array]  # (records, features) of each modality
    # One model's own embedding of subsets of them, if there is a model.
    fused: dict[tuple[str, ...], Array] = field(default_factory=dict)
    # Of modalities that are numbers themselves, the few columns behind a model's embeddings; None of arrays.
    columns: dict[str, Array] | None = None
    where: str = "the arrays given"  # what the arrays are, in words
    notes: tuple[str, ...] = field(default=())  # what a reader should know of them

    @property
    def records(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def given(self) -> dict[str, Array]:
        """Columns as they were given, in which an answer may stand."""
        return self.arrays if self.columns is None else self.columns

    @property
    def raw(self) -> dict[str, Array]:
        """The columns behind a model's embeddings, if they are few in every modality."""
        columns = self.columns or {}
        return columns if columns.keys() == self.arrays.keys() else {}

    def choose(self, rows: np.ndarray) -> Material:
        """The same of some records."""
        return Material(
            {name: values[rows] for name, values in self.arrays.items()},
            {subset: values[rows] for subset, values in self.fused.items()},
            self.columns and {name: values[rows] for name, values in self.columns.items()},
            self.where,
            self.notes,
        )


def from_arrays(arrays: Mapping[str, Any], modalities: Sequence[str] | None) -> Material:
    """Checked arrays, one a modality.

    Raises:
        DataError: different numbers of records, values that are no finite numbers, fewer than two modalities.
    """
    problems = Problems("The embeddings cannot be compared")
    chosen = {}
    for name in chosen_names(arrays, modalities):
        try:
            values = np.asarray(arrays[name], dtype=np.float64)
        except (TypeError, ValueError) as problem:
            problems.add(f"'{name}' is no array of numbers ({problem}); give (records, features).")
            continue
        values = values.reshape(len(values), -1) if values.ndim != 1 else values[:, None]
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(wrong):
            problems.add(
                f"'{name}' is not finite in {len(wrong)} of {len(values)} records, the first is record "
                f"{wrong[0]}; leave them out of every modality and of the target."
            )
        chosen[name] = values
    lengths = {name: len(values) for name, values in chosen.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        problems.add(
            f"modalities have different numbers of records: {counts}; give the same records in each."
        )
    problems.raise_if_any(DataError)
    return Material(chosen)


def chosen_names(available: Collection[str], modalities: Sequence[str] | None) -> list[str]:
    names = list(available if modalities is None else modalities)
    for name in names:
        if name not in available:
            raise ConfigurationError(unknown("modality", name, available))
    if len(set(names)) < 2:
        raise ConfigurationError(
            f"A report needs at least two modalities to compare; got {', '.join(names) or 'none'}."
        )
    return names
