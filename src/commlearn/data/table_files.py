"""The file formats of tables, each as chunks of pandas rows with the types of the whole file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from commlearn.data.csv_files import read_csv
from commlearn.data.parquet_files import ParquetTable, chosen_columns
from commlearn.data.reading import Reading
from commlearn.data.tar_files import TarTable
from commlearn.data.text_files import not_utf8, open_text
from commlearn.errors import DataError

__all__ = ["READERS"]


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
            huge = type(value) is int and not -(1 << 63) <= value < 1 << 63
            types.setdefault(name, set()).add(float if huge else type(value))
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
    series = {}
    for name in names:
        values = [record.get(name) for record in records]
        kinds = types[name]
        if kinds <= {int, float, type(None)} and kinds != {type(None)}:
            dtype: Any = np.int64 if kinds == {int} else np.float64
        else:
            dtype = bool if kinds == {bool} else object
        column = np.empty(len(values), dtype=dtype)
        for row, value in enumerate(values):
            column[row] = np.nan if value is None and dtype is np.float64 else value
        series[name] = pd.Series(column, dtype="str" if kinds <= {str, type(None)} else None)
    return pd.DataFrame(series)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    line, number = "", 0
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise DataError(f"{path}, line {number}: {line.strip()[:60]} is not an object {{...}}.")
                yield record
    except UnicodeDecodeError as problem:
        raise not_utf8(path) from problem
    except json.JSONDecodeError as problem:
        told = f"{path}, line {number} is not JSON ({problem.msg}): {line.strip()[:60]}"
        raise DataError(told) from problem


READERS = {
    ".parquet": _parquet,
    ".pq": _parquet,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".tar": _tar,
}
