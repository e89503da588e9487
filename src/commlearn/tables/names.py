"""Checks of ids, groups, splits and words that may mean an empty cell, and messages that name records."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from commlearn.kinds.base import Problem
from commlearn.kinds.numbers import MISSING_NUMBERS
from commlearn.tables.table import Table

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # words in a column's name
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


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
    name_problems = odd_names(table, column)
    if name_problems:
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
        if value in first_rows:
            message = (
                f"the id {value!r} is also that of row {table.first_row + first_rows[value]}; give each "
                "record its own"
            )
            problems.append(Problem(message, column, table.first_row + row))
        first_rows.setdefault(value, row)
    return problems


def missing_words(table: Table, columns: Sequence[str]) -> list[Problem]:
    """Warn of text columns with words such as NA, of which only the user can say whether they mean empty."""
    problems = []
    for column in columns:
        values = table.frame[column]
        if not isinstance(values.dtype, pd.StringDtype):
            continue
        words = values[values.isin(MISSING_NUMBERS)]
        if len(words):
            distinct = ", ".join(words.unique())
            message = (
                f"{len(words)} cells are {distinct}, which are read as ordinary words. If they mean empty "
            )
            message += f"cells, add to the schema: missing: [{distinct}]"
            problems.append(Problem(message, column, level="warning"))
    return problems


def split_problems(table: Table, column: str) -> list[Problem]:
    """Return a problem for each row whose split is not a known name of train, validation or test."""
    name_problems = odd_names(table, column)
    if name_problems:
        return name_problems
    values = table.frame[column]
    return [
        Problem(
            f"the split is {values[row]!r}; give train, validation or test", column, table.first_row + row
        )
        for row in np.flatnonzero(split_names(values).isna()).tolist()
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
        position = -1 if not isinstance(problem.row, int) else problem.row - table.first_row
        if not 0 <= position < len(ids) or problem.column == column:
            return problem
        return replace(problem, id=f"{ids.iloc[position]!s:.40}")

    return tuple(map(with_id, problems))


def split_names(values: pd.Series) -> pd.Series:
    return values.astype("string").str.strip().str.lower().map(SPLITS)
