"""The file formats of tables, each as chunks of pandas rows with the types of the whole file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.errors import DataError
from commlearn.kinds.reading import Reading
from commlearn.storage.plain_json import parse_json
from commlearn.tables.formats.csv_files import read_csv
from commlearn.tables.formats.parquet_files import EXACT, ParquetTable, chosen_columns
from commlearn.tables.formats.tar_files import TarTable
from commlearn.tables.formats.text_files import not_utf8, open_text

__all__ = ["READERS"]

LONG = np.int64  # stands for whole numbers that no float holds exactly
NUMBERS = (int, LONG, float)


def _parquet(
    path: Path, rows: int, columns: Sequence[str] | None, reading: Reading
) -> Iterator[pd.DataFrame]:
    return ParquetTable(path).chunks(rows, columns)


def _tar(path: Path, rows: int, columns: Sequence[str] | None, reading: Reading) -> Iterator[pd.DataFrame]:
    return TarTable(path).chunks(rows, columns)


def _json_lines(
    path: Path, rows: int, columns: Sequence[str] | None, reading: Reading
) -> Iterator[pd.DataFrame]:
    types: dict[str, set[type]] = {}
    seen: dict[str, int] = {}
    count = 0
    for record in _objects(path):
        count += 1
        for name, value in record.items():
            types.setdefault(name, set()).add(_type(value, name in reading.names))
            seen[name] = seen.get(name, 0) + 1
    for name, times in seen.items():
        if times < count:
            types[name].add(type(None))
    names = chosen_columns(list(types), columns, str(path)) if count else []
    records = _objects(path)
    while part := list(itertools.islice(records, rows or count)):
        yield _frame(part, names, types)


def _frame(
    records: list[dict[str, Any]], names: Sequence[str], types: Mapping[str, set[type]]
) -> pd.DataFrame:
    columns = {name: _column([record.get(name) for record in records], types[name]) for name in names}
    return pd.DataFrame(columns)


def _column(values: list[Any], kinds: set[type]) -> pd.Series:
    """One column of the type that its cells have together, in the whole file."""
    if kinds <= {*NUMBERS, type(None)} and kinds != {type(None)}:
        if LONG in kinds and kinds <= {int, LONG, type(None)}:
            return pd.Series(pd.array(values, dtype="Int64"))
        if kinds == {int}:
            return pd.Series(np.array(values, dtype=np.int64))
        return pd.Series(np.array([_as_float(value) for value in values]))
    column = np.empty(len(values), dtype=bool if kinds == {bool} else object)
    for row, value in enumerate(values):
        column[row] = value
    return pd.Series(column, dtype="str" if kinds <= {str, type(None)} else None)


def _type(value: Any, is_name: bool) -> type:
    """Of one cell; a number that 64 bits do not hold is a fraction, unless it names something."""
    if type(value) is not int or -EXACT <= value <= EXACT:
        return type(value)
    if -(1 << 63) <= value < 1 << 63:
        return LONG
    return object if is_name else float


def _as_float(value: float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:
        return math.inf if value and value > 0 else -math.inf


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    line, number = "", 0
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                record = parse_json(line)
                if not isinstance(record, dict):
                    raise DataError(f"{path}, line {number}: {line.strip()[:60]} is not an object {{...}}.")
                yield record
    except UnicodeDecodeError as problem:
        raise not_utf8(path) from problem
    except ValueError as problem:
        raise DataError(f"{path}, line {number} is not JSON ({problem}): {line.strip()[:60]!r}") from problem


READERS = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".tar": _tar,
}
