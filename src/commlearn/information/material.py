"""Inputs of a report: its settings, modalities as arrays of the same records, and the target's classes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import torch

from commlearn.errors import ConfigurationError, DataError, Problems, unknown
from commlearn.information.pid.marginals import Array
from commlearn.kinds.rows import is_empty


@dataclass(frozen=True)
class Settings:
    """Settings of a report; the documented figures were measured with the defaults."""

    folds: int = 5  # number of folds; each record is judged by experts that did not see its fold
    repeats: int | None = None  # divisions into folds to average over; default: 2 below 800 records, else 1
    level: float = 0.9  # confidence level of the intervals
    bootstrap: int = 30  # resamplings of the records, for the intervals of parts near zero
    permutations: int = 119  # permutations in each null test
    bins: int | None = None  # number of quantile classes of a continuous target; 8 if not given
    components: int = 64  # most principal components of a modality
    curve: bool = True  # repeat on halves, to see whether more data would change the answer
    seed: int = 0

    def __post_init__(self) -> None:
        problems = Problems("settings")
        whole = ["folds", "bootstrap", "permutations", "components", "seed"]
        whole += [name for name in ("repeats", "bins") if getattr(self, name) is not None]
        for name in whole:
            if not isinstance(value := getattr(self, name), Integral):
                problems.add(f"{name} is {value!r}; give a whole number")
        if not isinstance(self.level, Real):
            problems.add(f"level is {self.level!r}; give a share from 0.5 to less than 1, such as 0.9")
        problems.raise_if_any(ConfigurationError)
        for name, minimum in (("folds", 2), ("bootstrap", 0), ("permutations", 19), ("components", 1)):
            if getattr(self, name) < minimum:
                problems.add(f"{name} is {getattr(self, name)}; give at least {minimum}")
        if self.repeats is not None and self.repeats < 1:
            problems.add(f"repeats is {self.repeats}; give at least 1")
        if not 0.5 <= self.level < 1:
            problems.add(f"level is {self.level}; give a share from 0.5 to less than 1, such as 0.9")
        if self.bins is not None and self.bins < 2:
            problems.add(f"bins is {self.bins}; give at least 2 classes")
        # scikit-learn's limit, less what further divisions add
        maximum = 2**32 - 1 - 1000 * (self.repeats or 2)
        if not 0 <= self.seed <= maximum:
            problems.add(f"seed is {self.seed}; give a whole number from 0 to {maximum}")
        problems.raise_if_any(ConfigurationError)
        for name in whole:  # plain numbers, for JSON
            object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "level", float(self.level))

    def repeats_of(self, records: int) -> int:
        """Return how many times the records are divided into folds."""
        return self.repeats or (2 if records < 800 else 1)  # the division matters if there are few records


FEW = 20  # number of records of a class below which results for it are unreliable
_MOST_CLASSES = 20  # distinct numbers above which a target counts as continuous
_BINS = 8
_MOST_CODES, _LEAST_PER_CODE = 200, 5  # most codes in a column; fewest records of each, on average


@dataclass(frozen=True)
class Target:
    """A target as labels 0, ..., classes - 1, for the records that have a value."""

    name: str  # name of the target
    labels: np.ndarray  # one for each record that has a value
    classes: tuple[str, ...]  # name of the class that each label stands for
    rows: np.ndarray  # positions of these records among all
    records: int  # number of all records, also those without a value
    numbers: np.ndarray | None = None  # the values behind the classes, if the target was continuous
    notes: tuple[str, ...] = ()  # what was done to the target
    warnings: tuple[str, ...] = ()  # what makes the result less certain
    severe: tuple[str, ...] = ()  # why the result cannot be trusted


def prepare_target(values: Any, name: str, bins: int | None, folds: int, sort: str | None = None) -> Target:
    """Turn a target's classes, or its numbers cut at quantiles, into labels.

    Empty cells are left out and counted. Without `bins`, fractions, and whole numbers with more than 20
    values, are cut into 8 classes, as are those of the stated `sort` `number` if one value is too rare to be
    a class. Targets with two values, and those whose stated `sort` is `class`, are never cut.

    Raises:
        DataError: there are fewer than two classes, or a class has fewer records than there are folds.
    """
    series = pd.Series(np.asarray(values)) if not isinstance(values, pd.Series) else values
    rows = np.flatnonzero([not is_empty(value) for value in series])
    if not len(rows):
        raise DataError(f"target '{name}' has no values: all {len(series)} are empty or NaN.")
    present = series.iloc[rows].reset_index(drop=True).infer_objects()
    warnings = []
    if len(rows) < len(series):
        warnings.append(
            f"{len(series) - len(rows)} of {len(series)} records have no '{name}' and were left out"
        )
    numbers, notes = None, []
    severe = _code_doubts(present, name) if bins is None and sort is None else ()
    binary = present.dtype.kind in "biuf" and present.nunique() <= 2
    continuous = _is_continuous(present) or (sort == "number" and present.value_counts().min() < folds)
    if sort != "class" and not binary and (bins is not None or continuous):
        numbers = pd.to_numeric(present, errors="coerce").to_numpy(dtype=np.float64)
        if len(invalid := np.flatnonzero(~np.isfinite(numbers))):
            raise DataError(
                f"target '{name}' is to be cut into classes, but {present.iloc[invalid[0]]!r} is not a "
                f"finite number ({len(invalid)} such values). Correct them, leave these records out, or, if "
                "they are class names, leave out bins."
            )
        codes, classes = _quantile_classes(numbers, bins or _BINS)
        notes.append(
            f"'{name}' is a number with {len(np.unique(numbers))} values; it was cut into {len(classes)} "
            f"classes of about equal size{'' if bins else ' (the default; choose with bins=)'}"
        )
    else:
        codes, distinct = pd.factorize(present, sort=True)
        classes = class_texts(distinct)
        if sort == "class" and bins is not None:
            notes.append(f"'{name}' is specified as a class, so it was not cut and bins= has no effect")
    is_number = sort != "class" and numbers is None and present.dtype.kind in "iuf"
    warnings += _check_classes(codes, classes, name, folds, " If it is a number, set bins=." * is_number)
    return Target(
        name,
        codes.astype(np.intp),
        tuple(classes),
        rows,
        len(series),
        numbers,
        notes=tuple(notes),
        warnings=tuple(warnings),
        severe=severe,
    )


def label_columns(values: Any) -> dict[str, np.ndarray] | None:
    """Return one 0/1 column per label if the target is 2-D or has a collection of labels per record.

    Example:
        >>> label_columns([("a",), ("a", "b"), ()])["b"].tolist()
        [0, 1, 0]
    """
    if isinstance(values, pd.DataFrame):
        columns = {str(name): column.to_numpy() for name, column in values.items()}
        if len(columns) < values.shape[1]:
            raise DataError(
                f"The target has {values.shape[1]} columns, but only {len(columns)} names for them, "
                f"{', '.join(columns)}; give each label a name of its own."
            )
        return columns
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return {str(index): values[:, index] for index in range(values.shape[1])}
    cells = [None if is_empty(cell) else cell for cell in values]
    if not any(is_collection(cell) for cell in cells):
        return None
    collections = [cell if cell is None or is_collection(cell) else [cell] for cell in cells]
    labels = [
        None if cell is None else {str(label) for label in cell if not is_empty(label)}
        for cell in collections
    ]
    names = sorted(set().union(*filter(None, labels)))
    return {name: np.array([np.nan if row is None else int(name in row) for row in labels]) for name in names}


def is_collection(cell: object) -> bool:
    """Whether a cell holds a collection of labels."""
    return isinstance(cell, list | tuple | set | frozenset) or (
        isinstance(cell, np.ndarray) and cell.ndim == 1
    )


def _is_continuous(values: pd.Series) -> bool:
    if values.dtype.kind not in "iuf":
        return False
    whole = values.dtype.kind != "f" or (values == values.round()).all()
    return bool(values.nunique() > (_MOST_CLASSES if whole else 2))


def _code_doubts(values: pd.Series, name: str) -> tuple[str, ...]:
    """Return a doubt if whole numbers with few values may be codes of classes, not amounts."""
    distinct = values.nunique()
    whole = values.dtype.kind in "iuf" and bool((values == values.round()).all())
    if not (whole and _MOST_CLASSES < distinct <= _MOST_CODES and distinct * _LEAST_PER_CODE <= len(values)):
        return ()
    return (
        f"'{name}' has {distinct} whole values and was treated as a number: if they are class codes, the "
        "results are about groups of neighbouring codes; give codes as text, or set bins= if it is a number",
    )


def _quantile_classes(numbers: np.ndarray, bins: int) -> tuple[np.ndarray, list[str]]:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, bins + 1)[1:-1]))
    if edges[-1] <= numbers.min():  # most records have the lowest value: split it from all others
        edges = np.unique(numbers)[1:2]
    codes = np.searchsorted(edges, numbers, side="right")
    present, codes = np.unique(codes, return_inverse=True)
    bounds = class_texts([-np.inf, *edges, np.inf], digits=4)
    return codes, [f"{bounds[code]} to {bounds[code + 1]}" for code in present]


def _check_classes(codes: np.ndarray, classes: list[str], name: str, folds: int, hint: str) -> list[str]:
    if len(classes) < 2:
        raise DataError(
            f"target '{name}' has one class, '{classes[0]}', in all {len(codes)} records, so there is "
            "nothing to predict. Give records of at least two classes."
        )
    problems, warnings = Problems(f"target '{name}'"), []
    counts = np.bincount(codes)
    if (small := int((counts < folds).sum())) > _MOST_CLASSES:
        raise DataError(
            f"target '{name}': {small} of {len(classes)} classes have fewer than {folds} records, such as "
            f"'{classes[int(counts.argmin())]}' with {counts.min()}; each class needs at least {folds}, one "
            "per fold. Merge classes, leave these records out, or choose another target if it is a name, a "
            "date or a free text."
        )
    for label, count in enumerate(counts):
        if count < folds:
            problems.add(
                f"class '{classes[label]}' has {count} records; each class needs at least {folds}, one per "
                f"fold. Merge it with another class or leave its records out.{hint}"
            )
        elif count < FEW:
            warnings.append(
                f"class '{classes[label]}' has only {count} records (fewer than {FEW}): results for it "
                "are unreliable"
            )
    problems.raise_if_any(DataError)
    return warnings


def class_texts(values: Iterable[object], digits: int = 6) -> list[str]:
    """Return values as text: whole numbers unchanged, others with enough digits to tell them apart.

    Example:
        >>> class_texts([1234567.0, 0.5]), class_texts([0.12345678, 0.12345679])
        (['1234567', '0.5'], ['0.12345678', '0.12345679'])
    """
    values = list(values)
    for precision in range(digits, 18):
        texts = [_text(value, precision) for value in values]
        if len(set(texts)) == len(texts):
            return texts
    return [repr(value) for value in values]  # such as 1 and "1"


def _text(value: object, digits: int) -> str:
    if not isinstance(value, float):
        return str(value)
    whole = value.is_integer() or abs(value) >= 10**digits  # no exponent for large numbers
    return f"{value:.0f}" if whole and abs(value) < 1e15 else f"{value:.{digits}g}"


MOST_MODALITIES = 5  # number up to which all subsets are measured; beyond it, only pairs are


@dataclass(frozen=True)
class Material:
    """Modalities as arrays of the same records."""

    arrays: dict[str, Array]  # (records, features) of each modality
    # A model's own embedding of each subset of two or more modalities, if there is a model.
    fused: dict[tuple[str, ...], Array] = field(default_factory=dict)
    # Raw columns behind a model's embeddings, of tables and vectors with few of them; None without a model.
    columns: dict[str, Array] | None = None
    origin: str = "the given arrays"  # what the arrays are, in words
    notes: tuple[str, ...] = ()  # what a reader should know about the arrays

    @property
    def records(self) -> int:
        return len(next(iter(self.arrays.values())))

    @property
    def given(self) -> dict[str, Array]:
        """Columns as the caller passed them, which may contain the answer."""
        return self.arrays if self.columns is None else self.columns

    @property
    def raw(self) -> dict[str, Array]:
        """Raw columns behind a model's embeddings, if every modality has few of them; otherwise empty."""
        columns = self.columns or {}
        return columns if columns.keys() == self.arrays.keys() else {}

    def choose(self, rows: np.ndarray) -> Material:
        """Return the material of some of the records."""
        return replace(
            self,
            arrays={name: values[rows] for name, values in self.arrays.items()},
            fused={subset: values[rows] for subset, values in self.fused.items()},
            columns=self.columns and {name: values[rows] for name, values in self.columns.items()},
        )


def from_arrays(arrays: Mapping[str, Any], modalities: Sequence[str] | None) -> Material:
    """Check arrays, one per modality, and return them as material.

    Raises:
        DataError: arrays are empty, differ in their number of records, or hold values that are not finite.
        ConfigurationError: fewer than two modalities are named, or one that does not exist.
    """
    if not all(isinstance(name, str) for name in arrays):
        names = ", ".join(map(repr, arrays))
        raise ConfigurationError(f"The modalities are named {names}; give names in text, such as 'image'.")
    problems = Problems("The embeddings cannot be compared")
    chosen = {}
    for name in chosen_names(arrays, modalities):
        try:
            values = as_numbers(arrays[name])
        except (TypeError, ValueError) as problem:
            problems.add(f"'{name}' is not an array of numbers ({problem}); give (records, features).")
            continue
        if not (values.ndim and values.size):
            problems.add(
                f"'{name}' has shape {values.shape}; give (records, features), at least one of each."
            )
            continue
        values = values.reshape(len(values), -1) if values.ndim != 1 else values[:, None]
        invalid = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(invalid):
            problems.add(
                f"'{name}' is not finite in {len(invalid)} of {len(values)} records, the first is record "
                f"{invalid[0]}; leave them out of every modality and of the target, or pass a table and name "
                "columns, whose cells may be empty."
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


def as_numbers(values: Any) -> Array:
    """Return an array, or a tensor on any device, as an array of float64, with NaN for masked values."""
    if isinstance(values, np.ma.MaskedArray):
        filled: Array = np.ma.filled(values.astype(np.float64), np.nan)
        return filled
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype=np.float64)


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
