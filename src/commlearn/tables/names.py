"""Rows and columns by name: which columns a kind reads, each record's id, each row's split."""

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

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")  # of a column's name
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
    """Rows whose cell is no name of anything, such as a list or bytes that are no text."""
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
    """Rows without an id, and rows whose id an earlier row has."""
    odd = odd_names(table, column)
    if odd:
        return odd
    values = table.frame[column]
    nameless = values.isna()
    problems = [
        Problem("the record has no id; give each record its own", column, table.first_row + int(row))
        for row in np.flatnonzero(nameless)
    ]
    first: dict[Any, int] = {}
    again = np.flatnonzero(values.duplicated(keep=False) & ~nameless)
    for row, value in zip(again.tolist(), values.iloc[again].tolist(), strict=True):
        if value in first:
            message = (
                f"the id {value!r} is that of row {table.first_row + first[value]} too; give each its own"
            )
            problems.append(Problem(message, column, table.first_row + row))
        first.setdefault(value, row)
    return problems


def missing_words(table: Table, columns: Sequence[str]) -> list[Problem]:
    """Columns of text some of whose cells may stand for an empty one, which only the user can say."""
    problems = []
    for column in columns:
        values = table.frame[column]
        if not isinstance(values.dtype, pd.StringDtype):
            continue
        words = values[values.isin(MISSING_NUMBERS)]
        if len(words):
            distinct = ", ".join(words.unique())
            message = (
                f"{len(words)} cells are {distinct}, read as words like others. If these stand for empty "
            )
            message += f"cells, state in the schema: missing: [{distinct}]"
            problems.append(Problem(message, column, level="warning"))
    return problems


def split_problems(table: Table, column: str) -> list[Problem]:
    """Rows whose split is none of train, validation and test."""
    odd = odd_names(table, column)
    if odd:
        return odd
    values = table.frame[column]
    return [
        Problem(
            f"the split is {values[row]!r}; give train, validation or test", column, table.first_row + row
        )
        for row in np.flatnonzero(split_names(values).isna()).tolist()
    ]


def with_ids(problems: Sequence[Problem], table: Table, column: str | None) -> tuple[Problem, ...]:
    """The same problems; each that is of a row names its id, too, where the table has one.

    Args:
        problems: of the table.
        table: whose rows they count.
        column: of the ids.
    """
    if column is None or column not in table.frame:
        return tuple(problems)
    ids = table.frame[column]

    def named(problem: Problem) -> Problem:
        place = -1 if not isinstance(problem.row, int) else problem.row - table.first_row
        if not 0 <= place < len(ids) or problem.column == column:
            return problem
        return replace(problem, id=f"{ids.iloc[place]!s:.40}")

    return tuple(map(named, problems))


def split_names(values: pd.Series) -> pd.Series:
    return values.astype("string").str.strip().str.lower().map(SPLITS)
