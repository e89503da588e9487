"""Functions that kinds share to read cells row by row: which cells are empty, and how to treat bad ones.

Bad cells are reported, or count as missing if the schema says so; either way they are listed and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Number
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from commlearn.errors import ConfigurationError, DataError, Problems
from commlearn.kinds.base import Cells, Kind, Problem

LISTED = 10  # most problems of one sort that are listed one by one
UNREADABLE = ("error", "missing")  # choices in a schema for cells that cannot be read
WAY_OUT = "To continue without such cells and get a list of them, set in the schema: unreadable: missing"
LIMIT = 5.0  # largest percentage of a modality's filled cells that may count as missing
PART = 1_000  # number of filled cells assumed, at least, when a table is judged before its end
Result = TypeVar("Result")


class UnreadableError(DataError):
    """Error for cells that cannot be read.

    Args:
        message: text that names the cells, or the first ten of them.
        problems: one problem for each cell, with its row if it belongs to one.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


def is_empty(cell: Any) -> bool:
    """Return whether a cell is None, NaN, NA or blank text, so that the record has nothing here."""
    if isinstance(cell, str):
        return not cell.strip()
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    return isinstance(cell, float | np.floating | np.datetime64 | np.timedelta64) and cell != cell


def is_empty_file(cell: Any) -> bool:
    """Return whether a cell is an object without content, such as {"bytes": None, "path": None}."""
    return isinstance(cell, dict) and all(
        is_empty(entry) or (isinstance(entry, bytes) and not entry) for entry in cell.values()
    )


def map_rows(
    rows: Iterable[Any], change: Callable[[Any], Result], column: str, first_row: int
) -> tuple[list[Result | None], list[Problem]]:
    """Apply `change` to each row; return the results, None for rows that it refuses, and the problems."""
    results: list[Result | None] = []
    problems: list[Problem] = []
    for row, cell in enumerate(rows, start=first_row):
        try:
            results.append(change(cell))
        except DataError as problem:
            results.append(None)
            problems.append(Problem(str(problem), column, row))
    return results, problems


@contextmanager
def collect_errors(problems: Problems, where: str) -> Iterator[None]:
    """Continue after an error, and add it to the problems to report."""
    try:
        yield
    except DataError as problem:
        problems.add(f"{where}: {problem}")


def first_ten(problems: Sequence[Problem]) -> list[Problem]:
    """Return the first ten problems, and one that says how many more there are."""
    first = list(problems[:LISTED])
    if len(problems) > LISTED:
        rest = f"and {len(problems) - LISTED} more rows like these"
        first.append(replace(problems[LISTED], message=rest, row=None))
    return first


def first_names(names: Sequence[str], between: str = ", ") -> str:
    """Return the first ten names as text, and how many more there are."""
    rest = f"{between.strip(', ')} and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return between.join(names[:LISTED]) + rest


def raise_errors(column: str, problems: Sequence[Problem]) -> None:
    """Raise one error for all rows that cannot be read, naming the first ten."""
    errors = [problem for problem in problems if problem.level == "error"]
    if len(errors) == 1:
        raise UnreadableError(str(errors[0]), errors)
    if errors:
        lines = "\n".join(f"  - {problem}" for problem in first_ten(errors))
        raise UnreadableError(f"{column}: {len(errors)} rows cannot be read\n{lines}", errors)


def brief(cell: Any, show: Callable[[Any], str] = repr, most: int | None = 60) -> str:
    """Return the start of a cell for a message, or the type of an object that cannot be shown.

    Example:
        >>> brief("x" * 99, str) == "x" * 60
        True
    """
    try:
        return show(cell)[:most]
    except (ValueError, TypeError, RecursionError):
        return f"an object of type {type(cell).__name__}"


def evenly_spaced(count: int, most: int) -> range:
    """Return at most `most` positions, evenly spaced over `count` rows.

    Example:
        >>> list(evenly_spaced(10, 4))
        [0, 3, 6, 9]
    """
    return range(0, count, max(1, -(-count // most)))


def named_columns(kind: str, fields: Sequence[str] | str) -> tuple[str, ...]:
    """Return the columns that a schema names; check that there is one, and that none is named twice."""
    names = (fields,) if isinstance(fields, str | Number) else fields
    columns = tuple(map(column_name, names))
    if not columns:
        raise ConfigurationError(f"{kind} needs at least one column; got none.")
    duplicates = [column for column, count in Counter(columns).items() if count > 1]
    if duplicates:
        raise ConfigurationError(
            f"{kind} names {', '.join(map(repr, duplicates))} more than once; name it once."
        )
    return columns


def column_name(name: Any) -> Any:
    """Return a column's name; a number is text, as in the tables that are read.

    Example:
        >>> column_name(0), column_name("0")
        ('0', '0')
    """
    return str(name) if isinstance(name, Number) else name


def store_whole(kind: object, field: str, name: str, least: int, wanted: str) -> None:
    """Check that a kind's setting is a whole number of at least `least`, and store it as a plain one."""
    value = getattr(kind, field)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigurationError(f"{name} is {value!r:.60}; give {wanted}.")
    object.__setattr__(kind, field, int(value))


def label(columns: Sequence[str]) -> str:
    """Return the name of one or several columns for a message."""
    return columns[0] if len(columns) == 1 else f"{columns[0]} to {columns[-1]}"


class Unreadable:
    """List of the cells that a kind refuses by row; they are emptied, so that they count as missing.

    One unreadable row per modality is always allowed, however short the table.

    Args:
        limit: percentage of the filled cells of each modality that may be unreadable.
    """

    def __init__(self, limit: float = LIMIT) -> None:
        self.limit = limit
        self.entries: list[Mapping[str, Any]] = []  # modality, column, row and problem of each cell
        self._cells: set[tuple[str, str, Any]] = set()
        self._filled: dict[tuple[str, int], int] = {}  # filled cells by modality and first row
        self._lock = Lock()  # threads read the row groups of a streamed table

    def without(
        self, name: str, kind: Kind, cells: Cells, read: Callable[[Cells], Result]
    ) -> tuple[Result, Cells]:
        """Read the cells, emptying those that `read` refuses; return the result and the remaining cells.

        Args:
            name: name of the modality.
            kind: kind of the modality.
            cells: rows of a table, or of a part of it.
            read: function that reads the cells; it raises UnreadableError as long as it refuses any.
        """
        filled = int((~cells.frame[list(kind.columns())].isna().all(axis=1)).sum())
        with self._lock:
            self._filled[name, cells.first_row] = filled
        while True:
            try:
                return read(cells), cells
            except UnreadableError as problem:
                remaining = _empty_cells(kind, cells, problem.problems)
                if remaining is None:
                    raise
                cells = remaining
                self._note(name, problem.problems)

    def judge(self, at_end: bool = True) -> None:
        """Raise an error if more cells are unreadable than the limit allows.

        Args:
            at_end: all of the table was read; otherwise the limit applies to at least 1,000 filled cells.
        """
        for name, rows, filled, first in self._by_modality():
            allowed = self.limit / 100 * (filled if at_end else max(filled, PART))
            if len(rows) > max(1, allowed):
                share = 100 * len(rows) / filled
                raise DataError(
                    f"{name}: {len(rows)} of {filled} cells cannot be read ({share:.1f} %), "
                    f"more than the {self.limit:g} % that may count as missing. The first is row "
                    f"{first['row']}, {first['column']}: {first['problem']}. Correct them, or raise "
                    "unreadable_limit in the schema"
                )

    def lines(self) -> list[str]:
        """Return a line for each modality: how many cells count as missing, and which."""
        return [
            f"{name}: {len(rows)} of {filled} cells cannot be read and count as missing (rows "
            f"{', '.join(map(str, rows[:LISTED]))}{', ...' if len(rows) > LISTED else ''}); the first: "
            f"{first['problem']}"
            for name, rows, filled, first in self._by_modality()
        ]

    def problems(self) -> list[Problem]:
        """Return the cells as warnings."""
        return [
            Problem(f"counts as missing: {entry['problem']}", entry["column"], entry["row"], "warning")
            for entry in self.entries
        ]

    def _by_modality(self) -> Iterator[tuple[str, list[int], int, Mapping[str, Any]]]:
        """Yield each modality's name, its unreadable rows, its number of filled cells and its first entry."""
        with self._lock:
            every_entry, counts = [*self.entries], [*self._filled.items()]
        for name in dict.fromkeys(entry["modality"] for entry in every_entry):
            entries = [entry for entry in every_entry if entry["modality"] == name]
            filled = sum(count for (modality, _), count in counts if modality == name)
            yield name, sorted({entry["row"] for entry in entries}), filled, entries[0]

    def _note(self, name: str, problems: tuple[Problem, ...]) -> None:
        with self._lock:
            for problem in problems:
                cell = (name, problem.column, problem.row)
                if isinstance(problem.row, int) and cell not in self._cells:
                    self._cells.add(cell)
                    where = {"modality": name, "column": problem.column, "row": problem.row}
                    self.entries.append({**where, "problem": problem.message})


def _empty_cells(kind: Kind, cells: Cells, problems: tuple[Problem, ...]) -> Cells | None:
    """Empty the refused cells: single ones of a tabular modality, otherwise all of the modality in the row.

    Returns None if nothing would be emptied.
    """
    columns = list(kind.columns())
    empty = {column: np.zeros(len(cells), dtype=bool) for column in columns}
    for problem in problems:
        if isinstance(problem.row, int):
            single = kind.name == "tabular" and problem.column in empty
            for column in (problem.column,) if single else columns:
                empty[column][problem.row - cells.first_row] = True
    empty = {column: mask for column, mask in empty.items() if mask.any()}
    if not any((cells.frame[column].notna() & mask).any() for column, mask in empty.items()):
        return None
    emptied = {name: cells.frame[name].astype(object).mask(mask, None) for name, mask in empty.items()}
    return Cells(cells.frame.assign(**emptied), cells.root, cells.first_row)
