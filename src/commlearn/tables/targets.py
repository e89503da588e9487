"""Targets: columns of classes, numbers or sets of labels that a probe can predict."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from commlearn.kinds.base import Cells, Problem
from commlearn.kinds.numbers import as_numbers, is_missing_number
from commlearn.kinds.rows import brief, is_empty, raise_errors
from commlearn.kinds.written import one_amount
from commlearn.storage.plain_json import parse_json

SEPARATOR = re.compile(r"\s*[;|,]\s*")


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
            problems.append(
                (row, f"{brief(value)} is not a class; give one label, or declare the target as multilabel")
            )
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
            parts = value.tolist() if isinstance(value, np.ndarray) else value
            labels[row] = _sorted_labels(parts)
        elif is_empty(value):
            labels[row] = None
        else:
            problems.append(
                (row, f"{brief(value)} is not a set of labels; give a list, or text such as 'a; b'")
            )
    return labels, problems


def _labels_of(text: str) -> tuple[str, ...]:
    """Split text into labels at each ; | or comma, or parse a list in JSON, as text files store it."""
    if text.startswith("["):
        try:
            return _sorted_labels(parse_json(text))
        except ValueError:  # text that only begins like a list
            pass
    return tuple(part for part in SEPARATOR.split(text) if part)


def _sorted_labels(parts: Iterable[Any]) -> tuple[str, ...]:
    return tuple(sorted(str(part) for part in parts if not is_empty(part)))


TARGETS: dict[str, Any] = {"class": _classes, "number": _numbers, "multilabel": _label_sets}
