"""Columns with a role (ids, groups, splits and targets): their checks, and how targets are read."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from commlearn.kinds.base import Cells, Problem
from commlearn.kinds.numbers import as_numbers, is_missing_number
from commlearn.kinds.rows import brief, is_empty, raise_errors
from commlearn.kinds.written import list_of, one_amount
from commlearn.tables.table import Table

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # words in a column's name
SEPARATOR = re.compile(r"\s*[;|,]\s*")  # between the labels of a cell
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")


def odd_names(table: Table, column: str) -> list[Problem]:
    """Return a problem for each cell that cannot be a name, such as a list or bytes that are not text."""
    values = table.frame[column]
    nested = isinstance(values.dtype, pd.ArrowDtype) and pa.types.is_nested(values.dtype.pyarrow_dtype)
    if values.dtype != object and not nested:
        return []
    return [
        Problem(f"holds a {type(cell).__name__}; give text or a number", column, table.first_row + row)
        for row, cell in enumerate(values.tolist())
        if _is_odd(cell)
    ]


def _is_odd(cell: object) -> bool:
    if isinstance(cell, bytes):
        try:
            cell.decode()
        except UnicodeDecodeError:
            return True
    return not isinstance(cell, Hashable) or isinstance(cell, tuple | frozenset)


def id_problems(table: Table, column: str) -> list[Problem]:
    """Return a problem for each row without an id, or with the id of an earlier row."""
    if name_problems := odd_names(table, column):
        return name_problems
    values = table.frame[column]
    missing = values.isna()
    problems = [
        Problem("the record has no id; give each record its own", column, table.first_row + int(row))
        for row in np.flatnonzero(missing)
    ]
    first_rows: dict[Any, int] = {}
    repeated = np.flatnonzero(values.duplicated(keep=False) & ~missing)
    for row, value in zip(repeated.tolist(), values.iloc[repeated].tolist(), strict=True):
        first = first_rows.setdefault(value, row)
        if first != row:
            problems.append(repeated_id(value, table.first_row + first, column, table.first_row + row))
    return problems


def repeated_id(value: object, first: int, column: str, row: int) -> Problem:
    """Return the problem that a row has the id of another row."""
    return Problem(f"the id {value!r} is also that of row {first}; give each record its own", column, row)


def split_problems(table: Table, column: str) -> list[Problem]:
    """Return a problem for each row whose split is not a known name of train, validation or test."""
    if name_problems := odd_names(table, column):
        return name_problems
    values, first = table.frame[column], table.first_row
    odd = np.flatnonzero(split_names(values).isna()).tolist()
    shown = ["empty" if is_empty(values[row]) else repr(values[row]) for row in odd]
    return [
        Problem(f"the split is {cell}; give train, validation or test", column, first + row)
        for row, cell in zip(odd, shown, strict=True)
    ]


def with_ids(problems: Sequence[Problem], table: Table, column: str | None) -> tuple[Problem, ...]:
    """Add the record's id to each problem that concerns a row, if the table has an id column.

    Args:
        problems: problems found in the table.
        table: table whose rows they refer to.
        column: the id column; None if there is none.
    """
    if column is None or column not in table.frame:
        return tuple(problems)
    ids = table.frame[column]

    def with_id(problem: Problem) -> Problem:
        position = problem.row - table.first_row if isinstance(problem.row, int) else -1
        if not 0 <= position < len(ids) or problem.column == column:
            return problem
        return replace(problem, id=f"{ids.iloc[position]!s:.40}")

    return tuple(map(with_id, problems))


def split_names(values: pd.Series) -> pd.Series:
    return values.astype("string").str.strip().str.lower().map(SPLITS)


def encode_target(cells: Cells, column: str, sort: str) -> np.ndarray:
    """Return one value per record: NaN (in columns of numbers) or None (in all others) if it has none.

    Args:
        cells: rows of the table.
        column: column of the target.
        sort: `class` keeps labels unchanged, `number` gives float64, `multilabel` a tuple of labels.
    """
    values, problems = read_target(cells, column, sort)
    raise_errors(column, problems)
    return values


def read_target(cells: Cells, column: str, sort: str) -> tuple[np.ndarray, list[Problem]]:
    """Like `encode_target`, but return what cannot be read as problems instead of raising an error."""
    values, problems = TARGETS[sort](cells.frame[column])
    return values, [Problem(message, column, cells.first_row + row) for row, message in problems]


def _classes(values: pd.Series) -> tuple[np.ndarray, list[tuple[int, str]]]:
    if values.dtype.kind in "biuf" and isinstance(values.dtype, np.dtype):
        return values.to_numpy(), []
    labels = np.empty(len(values), dtype=object)
    problems = []
    for row, value in enumerate(values):
        if isinstance(value, list | dict | set | tuple | np.ndarray):
            message = f"{brief(value)} is not a class; give one label, or declare the target as multilabel"
            problems.append((row, message))
        else:
            labels[row] = None if is_empty(value) else value
    return labels, problems


def _numbers(values: pd.Series) -> tuple[np.ndarray, list[tuple[int, str]]]:
    numbers = as_numbers(values)
    problems: dict[int, str] = {}
    is_text = [isinstance(cell, str) and not (is_empty(cell) or is_missing_number(cell)) for cell in values]
    if (np.isnan(numbers) & is_text).any():  # amounts in one unit, such as 1.299,00 €
        is_missing = [is_missing_number(cell) for cell in values]
        numbers, problems = one_amount(values.astype(object).mask(is_missing, None))
    for row in np.flatnonzero(~np.isfinite(numbers)).tolist():
        value = values.iloc[row]
        if not (is_empty(value) or is_missing_number(value) or row in problems):
            problems[row] = f"{brief(value)} is not a finite number; correct it or leave the cell empty"
    return numbers, sorted(problems.items())


def _label_sets(values: pd.Series) -> tuple[np.ndarray, list[tuple[int, str]]]:
    labels = np.empty(len(values), dtype=object)
    problems = []
    for row, value in enumerate(values):
        if isinstance(value, str) and not is_empty(value):
            labels[row] = _labels_of(value.strip())
        elif isinstance(value, list | tuple | set) or (isinstance(value, np.ndarray) and value.ndim):
            labels[row] = _sorted_labels(value.tolist() if isinstance(value, np.ndarray) else value)
        elif is_empty(value):
            labels[row] = None
        else:
            message = f"{brief(value)} is not a set of labels; give a list, or text such as 'a; b'"
            problems.append((row, message))
    return labels, problems


def _labels_of(text: str) -> tuple[str, ...]:
    """Split text into labels at each ; | or comma, or parse a list, as text files store it."""
    if text.startswith("["):
        try:
            return _sorted_labels(list_of(text))
        except (ValueError, SyntaxError):  # text that only begins like a list
            pass
    return tuple(part for part in SEPARATOR.split(text) if part)


def _sorted_labels(parts: Iterable[Any]) -> tuple[str, ...]:
    return tuple(sorted(str(part) for part in parts if not is_empty(part)))


TARGETS: dict[str, Any] = {"class": _classes, "number": _numbers, "multilabel": _label_sets}
