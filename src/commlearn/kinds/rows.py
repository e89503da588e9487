"""What kinds share in reading cells row by row: which are empty, and how bad ones are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd

from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import Problem

__all__ = [
    "LISTED",
    "UnreadableError",
    "collecting",
    "first_ten",
    "is_empty",
    "label",
    "named_columns",
    "raise_errors",
    "spread",
]


LISTED = 10  # problems of one sort that are listed one by one


class UnreadableError(DataError):
    """Cells that cannot be read.

    Args:
        message: names them, or the first ten of them.
        problems: one for each, those of rows with their row.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def is_empty(cell: Any) -> bool:
    """None, NaN, NA or text without a visible character: the record has nothing here."""
    if isinstance(cell, str):
        return not cell.strip()
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    return isinstance(cell, float) and cell != cell


@contextmanager
def collecting(problems: Problems, where: str) -> Iterator[None]:
    """Continue after an error, and report it with the others."""
    try:
        yield
    except DataError as problem:
        problems.add(f"{where}: {problem}")


def first_ten(problems: Sequence[Problem]) -> list[Problem]:
    """The first ten one by one, and how many more there are."""
    first = list(problems[:LISTED])
    if len(problems) > LISTED:
        more = f"and {len(problems) - LISTED} more rows like these"
        first.append(replace(problems[LISTED], message=more, row=None))
    return first


def raise_errors(column: str, problems: Sequence[Problem]) -> None:
    """One error for all rows that cannot be read, naming the first ten."""
    errors = [problem for problem in problems if problem.level == "error"]
    if len(errors) == 1:
        raise UnreadableError(str(errors[0]), errors)
    if errors:
        lines = "\n".join(f"  - {problem}" for problem in first_ten(errors))
        raise UnreadableError(f"{column}: {len(errors)} rows cannot be read\n{lines}", errors)


def brief(cell: Any, show: Callable[[Any], str] = repr) -> str:
    """The start of a cell, for a message; some objects cannot be shown at all.

    Example:
        >>> brief("x" * 99, str) == "x" * 60
        True
    """
    try:
        return show(cell)[:60]
    except (ValueError, TypeError, RecursionError):
        return f"a {type(cell).__name__}"


def spread(count: int, most: int) -> range:
    """At most `most` positions, evenly spaced over `count` rows.

    Example:
        >>> list(spread(10, 4))
        [0, 3, 6, 9]
    """
    return range(0, count, max(1, -(-count // most)))


def named_columns(kind: str, fields: Sequence[str] | str) -> tuple[str, ...]:
    """The columns that a schema names: at least one, none twice."""
    columns = (fields,) if isinstance(fields, str) else tuple(fields)
    if not columns:
        raise ConfigurationError(f"{kind} needs at least one column; got none.")
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise ConfigurationError(f"{kind} names {', '.join(map(repr, twice))} more than once; name it once.")
    return columns


def label(columns: Sequence[str]) -> str:
    """One or several columns in a message."""
    return columns[0] if len(columns) == 1 else f"{columns[0]} to {columns[-1]}"
